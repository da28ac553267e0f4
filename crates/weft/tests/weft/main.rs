//! The program as its users run it: real processes over real sockets. One test
//! program for all, since each takes long to link.

mod admin;
mod audit;
mod bench;
mod cli;
mod common;
mod consume;
mod control;
mod doctor;
mod drain;
mod events;
mod governance;
mod identity;
mod joining;
mod kill;
mod login;
mod logs;
mod metrics;
mod otlp;
mod overload;
mod page;
mod pages;
mod plan;
mod policy;
mod quarantine;
mod registry;
mod reload;
mod schema;
mod sdks;
mod sockets;
mod stat;
mod storage;
mod streams;
mod top;
mod webhooks;
mod why_not;
