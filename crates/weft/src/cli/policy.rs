//! The arguments of `weft check` and `weft policy`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use weft_govern::access::{Action, Method};
use weft_govern::api::Named;

use super::ServerArgs;

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Files (TOML, or `*.cedar` with the rules of one policy), or folders with
    /// those below them.
    #[arg(value_name = "FILE|FOLDER", required = true)]
    pub(crate) paths: Vec<PathBuf>,
    /// Print the documents as one file, in their one form.
    #[arg(long)]
    pub(crate) print: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Read policies and check them against what they may speak of, without a hub:
    /// every mistake with file, line and column.
    Check {
        /// Files (TOML, or `*.cedar`), or folders with those below them.
        #[arg(value_name = "FILE|FOLDER", required = true)]
        paths: Vec<PathBuf>,
    },
    /// Run the tests of policies (`*.test.toml` beside them), without a hub. Exit
    /// code 1 where one comes out otherwise.
    Test {
        /// Folders, or files with policies, tenants and tests.
        #[arg(value_name = "FILE|FOLDER", required = true)]
        paths: Vec<PathBuf>,
        /// It also fails where a rule decides none of the tests.
        #[arg(long)]
        all_rules: bool,
        /// As a JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Why somebody may do something or not: the answer, by which rule of which
    /// version, and what was looked at.
    Explain(ExplainArgs),
    /// Whether somebody ever may do something to topics of a filter.
    Can(CanArgs),
    /// Who this client is to its hub.
    Whoami {
        /// As a JSON object.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// Somebody who logs in, as one word for each way.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LoggedIn {
    Anonymous,
    Certificate,
    Token,
    Password,
    Administrator,
}

impl LoggedIn {
    pub(crate) const fn method(self) -> Method {
        match self {
            LoggedIn::Anonymous => Method::Anonymous,
            LoggedIn::Certificate => Method::Certificate,
            LoggedIn::Token => Method::Token,
            LoggedIn::Password => Method::Password,
            LoggedIn::Administrator => Method::Administrator,
        }
    }
}

/// Whom a question is about.
#[derive(Debug, Args)]
pub(crate) struct WhoArgs {
    /// An identity of the control state, by its name.
    #[arg(long, value_name = "NAME", conflicts_with = "who")]
    pub(crate) identity: Option<String>,
    /// Somebody of this name, `TENANT/NAME` or `NAME` where they are of no tenant.
    #[arg(long, value_name = "[TENANT/]NAME")]
    pub(crate) who: Option<String>,
    /// With --who: their roles.
    #[arg(long, value_name = "ROLES", value_delimiter = ',', requires = "who")]
    pub(crate) roles: Vec<String>,
    /// With --who: how they logged in.
    #[arg(long, value_name = "HOW", default_value = "certificate")]
    pub(crate) method: LoggedIn,
}

/// By what a question is answered, and how.
#[derive(Debug, Args)]
pub(crate) struct ByArgs {
    /// By the documents of this file or folder, without a hub; as many as needed.
    #[arg(long, value_name = "FILE|FOLDER")]
    pub(crate) files: Vec<PathBuf>,
    /// As a JSON object.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    pub(crate) who: WhoArgs,
    /// publish, subscribe, request, reply, consume, administer or observe.
    #[arg(value_parser = action)]
    pub(crate) action: Action,
    /// A topic or filter; or `stream:NAME`, `schema:SUBJECT`, `tenant:NAME`, `mesh:`.
    #[arg(value_parser = named)]
    pub(crate) resource: Named,
    /// In this lane, of a publish.
    #[arg(long, value_name = "N")]
    pub(crate) lane: Option<u8>,
    /// As if it were asked at the hub of this name.
    #[arg(long, value_name = "NAME")]
    pub(crate) at_hub: Option<String>,
    /// As if the hub were in this region.
    #[arg(long, value_name = "NAME")]
    pub(crate) at_region: Option<String>,
    /// As if the hub had these labels.
    #[arg(long, value_name = "LABELS", value_delimiter = ',')]
    pub(crate) at_labels: Option<Vec<String>>,
    /// As if it were this time, such as 2030-01-01T10:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub(crate) at_time: Option<String>,
    #[command(flatten)]
    pub(crate) by: ByArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CanArgs {
    #[command(flatten)]
    pub(crate) who: WhoArgs,
    /// All that this tenant has or may have; with --role, all of that role of it.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["who", "identity"])]
    pub(crate) tenant: Option<String>,
    /// All of this role, of --tenant or of none.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["who", "identity"])]
    pub(crate) role: Option<String>,
    /// publish, subscribe, request, reply, consume, administer or observe.
    #[arg(value_parser = action)]
    pub(crate) action: Action,
    /// Topics of this filter.
    pub(crate) topics: String,
    #[command(flatten)]
    pub(crate) by: ByArgs,
}

/// An action by its name.
pub(crate) fn action(text: &str) -> Result<Action, String> {
    Action::parse(text).ok_or_else(|| {
        let known = Action::ALL.map(Action::name).join(", ");
        format!("there is no such action: it is one of {known}")
    })
}

/// A resource: a topic, unless a word before a `:` says otherwise.
pub(crate) fn named(text: &str) -> Result<Named, String> {
    let (kind, name) = match text.split_once(':') {
        Some((kind @ ("topic" | "stream" | "schema" | "tenant" | "mesh"), name)) => (kind, name),
        _ => ("topic", text),
    };
    if name.is_empty() != (kind == "mesh") {
        return Err("write a topic or filter, `stream:NAME`, `schema:SUBJECT`, `tenant:NAME` or `mesh:`".to_owned());
    }
    let name = name.to_owned();
    Ok(match kind {
        "stream" => Named::Stream(name),
        "schema" => Named::Schema(name),
        "tenant" => Named::Tenant(name),
        "mesh" => Named::Mesh,
        _ => Named::Topic(name),
    })
}
