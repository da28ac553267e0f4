//! The one program, `weft`: what it can be asked to do stands in `cli.rs`.
#![forbid(unsafe_code)]

mod capacity;
mod cli;
mod cloud;
mod commands;
mod config;
mod connect;
mod control;
mod demo;
mod doctor;
mod events;
mod hooks;
mod http;
mod issue;
mod keys;
mod login;
mod logs;
mod otlp;
mod plan;
mod profiler;
mod reload;
mod renewal;
mod simulate;
mod time;
mod watch;

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

/// It failed with an exit code of its own, which the command documents.
#[derive(Debug)]
pub(crate) struct Coded {
    pub(crate) code: u8,
    pub(crate) text: String,
}

impl std::fmt::Display for Coded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Coded {}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let format = if matches!(&cli.command, Command::Hub(args) if args.command.is_none()) {
        logs::Format::Json
    } else {
        logs::Format::Plain
    };
    logs::install(format, cli.log);
    let outcome = match cli.command {
        Command::Hub(args) => commands::hub::run(&args, cli.log),
        Command::Pub(args) => futures_lite::future::block_on(commands::publish::run(&args)),
        Command::Sub(args) => futures_lite::future::block_on(commands::subscribe::run(&args)),
        Command::Request(args) => futures_lite::future::block_on(commands::request::run(&args)),
        Command::Reply(args) => futures_lite::future::block_on(commands::reply::run(&args)),
        Command::Stream(command) => futures_lite::future::block_on(commands::stream::run(command)),
        Command::Log(command) => commands::log::run(command),
        Command::Consumer(command) => futures_lite::future::block_on(commands::consumer::run(command)),
        Command::Mesh(command) => futures_lite::future::block_on(commands::mesh::run(command)),
        Command::Apply(args) => futures_lite::future::block_on(commands::control::apply(&args)),
        Command::Export(args) => futures_lite::future::block_on(commands::control::export(&args)),
        Command::Control(command) => futures_lite::future::block_on(commands::control::run(command)),
        Command::Audit(command) => futures_lite::future::block_on(commands::audit::run(command)),
        Command::Check(args) => commands::check::run(&args),
        Command::Policy(command) => futures_lite::future::block_on(commands::policy::run(command)),
        Command::Mapping(command) => commands::mapping::run(command),
        Command::Schema(command) => commands::schema::run(command),
        Command::Bench(args) => commands::bench::run(&args),
        Command::PlanCapacity(args) => capacity::run(&args),
        Command::Profile(args) => futures_lite::future::block_on(commands::profile::run(&args)),
        Command::Doctor(args) => futures_lite::future::block_on(doctor::run(&args)),
        Command::Stat(args) => commands::stat::run(&args),
        Command::Top(args) => commands::top::run(&args),
        Command::Ca(command) => commands::ca::run(command),
        Command::Identity(command) => commands::identity::run(&command),
        Command::Token(command) => commands::token::run(command),
        Command::Join(args) => commands::join::run(&args),
        Command::Renew(args) => commands::join::renew(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Completions(args) => commands::pages::completions(&args),
        Command::Man(args) => commands::pages::man(&args),
        Command::Sim(args) => simulate::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has had enough: no reason to complain.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weft: {}", said(&error));
            let coded = error.downcast_ref::<Coded>().map(|coded| coded.code);
            ExitCode::from(coded.unwrap_or(if error.is::<Usage>() { 2 } else { 1 }))
        }
    }
}

/// An error and what it came of, but for causes that the text before has told.
fn said(error: &anyhow::Error) -> String {
    let mut told = String::new();
    let mut before = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if told.is_empty() {
            told.clone_from(&cause);
        } else if !before.contains(&cause) {
            told = format!("{told}: {cause}");
        }
        before = cause;
    }
    told
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|e| e.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == ErrorKind::BrokenPipe))
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::said;

    #[test]
    fn a_cause_is_told_once() {
        let io = std::io::Error::other("no room");
        let keyed = anyhow::Error::new(weft_keyed::KeyedError::Io(io));
        let once = said(&keyed);
        assert_eq!(once.matches("no room").count(), 1, "{once}");
        let nested = Err::<(), _>(keyed).context("the hub cannot start").expect_err("it is one");
        assert_eq!(said(&nested), format!("the hub cannot start: {once}"));
    }
}
