//! `weft reply`: answer requests, with what was asked or with what a command prints.

use std::io::Write;
use std::process::{Command, Stdio};

use weft_client::SubscribeOptions;

use crate::cli::ReplyArgs;
use crate::connect::connect_for;

/// Answers until it is stopped, or as many requests as were asked for.
pub(crate) async fn run(args: &ReplyArgs) -> anyhow::Result<()> {
    let options = match &args.group {
        Some(group) => SubscribeOptions::default().group(group, args.weight),
        None => SubscribeOptions::default(),
    };
    let client = connect_for(&args.server, "weft reply", None).await?;
    let mut responder = client.respond(&args.filter, options).await?;
    let hub = client.hub().map_or_else(String::new, |hub| format!(" at hub `{}`", hub.name));
    eprintln!("answering requests on `{}`{hub}", args.filter);
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 {
        let Some(request) = responder.next().await else { anyhow::bail!("the connection is closed") };
        let request = request?;
        let answer = match &args.exec {
            Some(command) => output_of(command, request.topic(), request.payload())?,
            None => request.payload().to_vec(),
        };
        if let Err(error) = request.finish(&answer).await {
            // Of one request: the next may fare better.
            eprintln!("weft: a reply was not sent: {error}");
        }
        left -= 1;
    }
    client.close().await;
    Ok(())
}

/// What a shell command prints, with the request's payload as its input and its
/// topic in `WEFT_TOPIC`. One line's end at its end is left out.
fn output_of(command: &str, topic: &str, payload: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut child = Command::new("sh")
        .args(["-c", command])
        .env("WEFT_TOPIC", topic)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let input = child.stdin.take();
    // Beside the reading, so that neither side waits for the other's full pipe.
    let output = std::thread::scope(|scope| {
        scope.spawn(move || {
            // A command that does not read its input is no error.
            input.and_then(|mut input| input.write_all(payload).ok())
        });
        child.wait_with_output()
    })?;
    if !output.status.success() {
        eprintln!("weft: `{command}` ended with {}", output.status);
    }
    let mut answer = output.stdout;
    if answer.last() == Some(&b'\n') {
        answer.pop();
    }
    Ok(answer)
}
