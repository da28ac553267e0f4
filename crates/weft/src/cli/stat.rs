//! What `weft stat` is told.

use std::time::Duration;

use clap::Args;

use crate::time::parse_duration;

#[derive(Debug, Args)]
pub(crate) struct StatArgs {
    /// The hub: the number of its process, its data folder, or its file of counters
    /// (`counters.weftstat` in the data folder). The hub need not answer, nor run.
    #[arg(value_name = "PID|FOLDER|FILE")]
    pub(crate) which: String,
    /// Only values whose name begins so, for example `stage.` or `link.chicago.`.
    #[arg(long, value_name = "PREFIX", default_value = "")]
    pub(crate) only: String,
    /// Also what is 0.
    #[arg(long)]
    pub(crate) all: bool,
    /// Print a JSON object, with all values.
    #[arg(long)]
    pub(crate) json: bool,
    /// Again and again, what happened since the time before: with each value, how much
    /// it is per second, and histograms of that time alone.
    #[arg(long, value_name = "EVERY", num_args = 0..=1, default_missing_value = "1 s", value_parser = every)]
    pub(crate) watch: Option<Duration>,
    /// With --watch: end after so many times.
    #[arg(long, value_name = "N", requires = "watch")]
    pub(crate) times: Option<u64>,
}

/// Reads how often to look.
fn every(text: &str) -> Result<Duration, String> {
    let every = parse_duration(text)?;
    let is_possible = (Duration::from_millis(100)..=Duration::from_secs(3_600)).contains(&every);
    if is_possible { Ok(every) } else { Err("take from `100 ms` to `1 h`".to_owned()) }
}
