//! `[telemetry.otlp]`: traces and logs to a receiver of OpenTelemetry's.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use weft_hub::see::TraceOptions;

use super::reader::{Problems, Section};
use crate::otlp::{Headers, OtlpOptions, Protocol};
use crate::time::show_duration;

/// Shares are kept in millionths.
const MILLION: f64 = 1_000_000.0;

pub(super) fn otlp(mut section: Section<'_, '_>, folder: &Path, problems: &mut Problems) -> Option<OtlpOptions> {
    let endpoint = section.needed("endpoint", "\"http://127.0.0.1:4317\"", problems);
    let protocol = section.choice("protocol", &Protocol::ALL, problems).unwrap_or(Protocol::Grpc);
    let mut options = OtlpOptions::new(endpoint.clone().unwrap_or_default(), protocol);
    if let Some(file) = section.text("headers_file", problems) {
        let path = folder.join(file);
        let read = std::fs::read_to_string(&path).map_err(|error| error.to_string());
        match read.and_then(|text| Headers::parse(&text)) {
            Ok(headers) => options.headers = headers,
            Err(why) => problems.add_at("telemetry.otlp.headers_file", &format!("{}: {why}", path.display())),
        }
    }
    options.ca = section.text("ca", problems).map(|file| folder.join(file));
    let mut traces = TraceOptions::default();
    if let Some(share) = section.fraction("sample", problems) {
        // More than all is refused by its violations.
        traces.sample_ppm = (share * MILLION).round() as u32;
    }
    if let Some(slow) = section.duration("slow", problems) {
        traces.slow = (slow > Duration::ZERO).then_some(slow);
    }
    if let Some(lost) = section.boolean("lost", problems) {
        traces.lost = lost;
    }
    if let Some(most) = section.number("most", problems) {
        traces.most = most;
    }
    options.traces = section.boolean("traces", problems).unwrap_or(true).then_some(traces);
    options.logs = section.boolean("logs", problems).unwrap_or(false);
    if let Some(queue) = section.number("queue", problems) {
        options.queue = queue;
    }
    if let Some(batch) = section.number("batch", problems) {
        options.batch = batch;
    }
    if let Some(every) = section.duration("every", problems) {
        options.every = every;
    }
    if let Some(patience) = section.duration("patience", problems) {
        options.patience = patience;
    }
    section.finish(problems);
    endpoint.map(|_| options)
}

/// Its effective values, as a configuration; of headers only how many there are.
pub(crate) fn show_otlp(otlp: &OtlpOptions) -> String {
    let OtlpOptions { endpoint, protocol, headers, ca, traces, logs, queue, batch, every, patience } = otlp;
    let mut out = format!("\n[telemetry.otlp]\nendpoint = {endpoint:?}\nprotocol = {:?}\n", protocol.name());
    // Writing to a String cannot fail.
    let _ = writeln!(out, "# headers_file: {} headers", headers.0.len());
    if let Some(ca) = ca {
        let _ = writeln!(out, "ca = {:?}", ca.display().to_string());
    }
    let _ = writeln!(out, "traces = {}", traces.is_some());
    if let Some(TraceOptions { sample_ppm, slow, lost, most }) = traces {
        let slow = show_duration(slow.unwrap_or_default());
        let sample = f64::from(*sample_ppm) / MILLION;
        let _ = writeln!(out, "sample = {sample:?}\nslow = \"{slow}\"\nlost = {lost}\nmost = {most}");
    }
    let (every, patience) = (show_duration(*every), show_duration(*patience));
    let _ = writeln!(
        out,
        "logs = {logs}\nqueue = {queue}\nbatch = {batch}\nevery = \"{every}\"\npatience = \"{patience}\""
    );
    out
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::show_otlp;
    use crate::config::parse;
    use crate::otlp::{OtlpOptions, Protocol};

    const SAMPLE: &str = include_str!("../../../../examples/hub.toml");
    const HUB: &str = "name = \"a\"\n[[clients]]\nlisten = \"127.0.0.1:0\"\nplain = true\n";

    fn otlp(text: &str) -> Result<OtlpOptions, Vec<String>> {
        let config = parse(&format!("{HUB}{text}"), Path::new("/etc/weft"));
        let config =
            config.map_err(|problems| problems.into_iter().map(|problem| problem.message).collect::<Vec<_>>())?;
        let otlp = config.otlp.ok_or_else(Vec::new)?;
        assert_eq!(config.hub.see.traces, otlp.traces, "the hub traces what is to be sent");
        Ok(otlp)
    }

    #[test]
    fn the_documented_table_shows_the_defaults_and_what_is_shown_is_read_again() {
        let from = SAMPLE.find("# [telemetry.otlp]").expect("it is documented");
        let lines = SAMPLE[from..].lines().take_while(|line| line.starts_with('#')).map(|line| line[1..].trim());
        let table: String = lines
            .filter(|line| !line.starts_with("headers_file") && !line.starts_with("ca "))
            .fold(String::new(), |table, line| table + line + "\n");
        let options = otlp(&table).expect("it is right");
        assert_eq!(options, OtlpOptions::new("http://127.0.0.1:4317".to_owned(), Protocol::Grpc));
        assert_eq!(otlp(&show_otlp(&options)).expect("it is right"), options);
        let other = "[telemetry.otlp]\nendpoint = \"https://example.com:1/b\"\nprotocol = \"http\"\nca = \"x.pem\"\nsample = 0.5\n\
                     slow = \"0 s\"\nlost = false\nmost = 7\nlogs = true\n";
        let other = otlp(other).expect("it is right");
        assert_eq!(other.traces.map(|traces| (traces.sample_ppm, traces.slow)), Some((500_000, None)));
        assert_eq!(otlp(&show_otlp(&other)).expect("it is right"), other);
    }

    #[test]
    fn what_cannot_be_is_told_and_without_the_table_nothing_is_traced() {
        let at = "[telemetry.otlp]\nendpoint = \"http://127.0.0.1:4317\"\n";
        for (more, part) in [
            ("sample = 1.5\n", "0.0 to 1.0"),
            ("most = 0\n", "blocks a second"),
            ("slow = \"soon\"\n", "not a duration"),
            ("traces = false\n", "nothing would be sent"),
            ("headers_file = \"nowhere/at/all\"\n", "nowhere/at/all"),
            ("sampel = 1\n", "sampel"),
            ("[see]\nwindow = 0\n", "traces are made from it"),
        ] {
            let problems = otlp(&format!("{at}{more}")).expect_err(more);
            assert!(problems.iter().any(|problem| problem.contains(part)), "{more}: {problems:?}");
        }
        assert!(otlp("[telemetry.otlp]\n").is_err(), "it needs an endpoint");
        assert_eq!(otlp("").expect_err("there is no table"), Vec::<String>::new());
    }
}
