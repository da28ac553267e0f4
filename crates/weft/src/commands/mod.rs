//! What each command does.

pub(crate) mod audit;
pub(crate) mod backup;
pub(crate) mod bench;
pub(crate) mod ca;
pub(crate) mod check;
pub(crate) mod consumer;
pub(crate) mod control;
pub(crate) mod dead;
pub(crate) mod drain;
pub(crate) mod hub;
pub(crate) mod identity;
pub(crate) mod join;
pub(crate) mod log;
pub(crate) mod mapping;
pub(crate) mod mesh;
pub(crate) mod policy;
pub(crate) mod profile;
pub(crate) mod publish;
pub(crate) mod reply;
pub(crate) mod request;
pub(crate) mod schema;
pub(crate) mod see;
pub(crate) mod stream;
pub(crate) mod subscribe;
pub(crate) mod token;
pub(crate) mod why_not;
