//! `weft profile`: a flame graph of a running hub.

use std::io::{self, Write};

use weft_hub::profile::Profile;

use crate::cli::ProfileArgs;
use crate::connect::connect;
use crate::profiler::write_flame_graph;
use crate::time::show_bytes;

/// How many functions are listed.
const LISTED: usize = 5;

pub(crate) async fn run(args: &ProfileArgs) -> anyhow::Result<()> {
    let client = connect(&args.server, "weft profile").await?;
    let report = client.profile(args.seconds, args.hertz).await?;
    client.close().await;
    let mut out = io::stdout().lock();
    let seconds = report.took.as_secs_f64();
    writeln!(out, "{} samples in {seconds:.1} s", report.samples)?;
    writeln!(
        out,
        "{} allocations of {} meanwhile; {} allocated in all",
        report.allocations,
        show_bytes(report.allocated),
        show_bytes(report.live)
    )?;
    for (function, samples) in busiest(&report.stacks).into_iter().take(LISTED) {
        let share = 100.0 * samples as f64 / report.samples.max(1) as f64;
        writeln!(out, "{share:5.1} %  {function}")?;
    }
    if report.stacks.is_empty() {
        writeln!(out, "the hub did nothing that was seen: no flame graph is written")?;
    } else {
        let profile = Profile { took: report.took, stacks: report.stacks, ..Profile::default() };
        write_flame_graph(&args.output, &profile)?;
        writeln!(out, "flame graph: {}", args.output.display())?;
    }
    out.flush()?;
    Ok(())
}

/// The functions in which samples were taken, with how many, most first.
fn busiest(stacks: &[(String, u64)]) -> Vec<(&str, u64)> {
    let mut functions: Vec<(&str, u64)> = Vec::new();
    for (frames, samples) in stacks {
        let leaf = frames.rsplit(';').next().unwrap_or(frames);
        match functions.iter_mut().find(|(function, _)| *function == leaf) {
            Some((_, sum)) => *sum += samples,
            None => functions.push((leaf, *samples)),
        }
    }
    functions.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    functions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_count_for_the_innermost_function() {
        let stacks = [("t;a;b", 3), ("t;a;c", 4), ("t;d;b", 2)].map(|(frames, n)| (frames.to_owned(), n));
        assert_eq!(busiest(&stacks), [("b", 5), ("c", 4)]);
    }
}
