//! Controllers: of stages (threads, shards, batch) and of load (what is shed).
