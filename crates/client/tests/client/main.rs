//! The client against real hubs. One test program for all, since each takes long to link.

mod common;
mod consumers;
mod govern;
mod hub;
mod receipts;
mod requests;
mod shared_memory;
mod streams;
mod waiting;
