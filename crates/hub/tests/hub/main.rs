//! Whole hubs over real sockets, spoken to in bytes. One program for all, since
//! each that is linked apart takes as long as the hub; what counts allocations or
//! looks at the process as a whole has a program of its own beside this one.

mod admission;
mod bad_input;
mod common;
mod compression;
mod consumers;
mod consumers_bad;
mod consumers_kept;
mod credit;
mod crossing;
mod delay;
mod far;
mod groups;
mod homes;
mod hostile;
mod identity;
mod inspect;
mod intake;
mod interest;
mod joining;
mod keyed;
mod lanes;
mod ledger;
mod links;
mod lying_hub;
mod mapping;
mod mesh;
mod names;
mod parallel;
mod quic;
mod quotas;
mod receipts;
mod replicas;
mod requests;
mod residency;
mod rights;
mod seats;
mod see;
mod sessions;
mod shared_memory;
mod spool;
mod spread;
mod streams;
mod two_paths;
mod young;
