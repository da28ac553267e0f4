//! The mesh's decider: link state, routes, interest, flows and the ledger
