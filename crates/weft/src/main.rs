//! The one program: `weft hub`, `pub`, `sub`, `stream`, `consumer`, `log`, `mesh`, `mapping`, `profile`, `ca`, `token`, `join`, `renew`, `demo`, `sim`.
#![forbid(unsafe_code)]

mod cli;
mod commands;
mod config;
mod connect;
mod demo;
mod events;
mod issue;
mod keys;
mod logs;
mod plan;
mod profiler;
mod renewal;
mod rules;
mod simulate;
mod time;

use std::io::ErrorKind;
use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};

/// The arguments or the configuration are wrong: exit code 2.
#[derive(Debug)]
pub(crate) struct Usage(String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let format = if matches!(&cli.command, Command::Hub(args) if args.command.is_none()) {
        logs::Format::Json
    } else {
        logs::Format::Plain
    };
    logs::install(format, cli.log);
    let outcome = match cli.command {
        Command::Hub(args) => commands::hub::run(&args),
        Command::Pub(args) => futures_lite::future::block_on(commands::publish::run(&args)),
        Command::Sub(args) => futures_lite::future::block_on(commands::subscribe::run(&args)),
        Command::Request(args) => futures_lite::future::block_on(commands::request::run(&args)),
        Command::Reply(args) => futures_lite::future::block_on(commands::reply::run(&args)),
        Command::Stream(command) => futures_lite::future::block_on(commands::stream::run(command)),
        Command::Log(command) => commands::log::run(command),
        Command::Consumer(command) => futures_lite::future::block_on(commands::consumer::run(command)),
        Command::Mesh(command) => futures_lite::future::block_on(commands::mesh::run(command)),
        Command::Mapping(command) => commands::mapping::run(command),
        Command::Bench(args) => commands::bench::run(&args),
        Command::Profile(args) => futures_lite::future::block_on(commands::profile::run(&args)),
        Command::Ca(command) => commands::ca::run(command),
        Command::Token(command) => commands::token::run(command),
        Command::Join(args) => commands::join::run(&args),
        Command::Renew(args) => commands::join::renew(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Sim(args) => simulate::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has had enough: no reason to complain.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weft: {error:#}");
            ExitCode::from(if error.is::<Usage>() { 2 } else { 1 })
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|e| e.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == ErrorKind::BrokenPipe))
}
