//! `weft request`: ask whoever answers on a topic.

use std::io::{self, Write};

use weft_client::CallError;

use crate::cli::RequestArgs;
use crate::connect::connect;

/// Prints each reply as a line. Ends with an error when fewer came than asked for.
pub(crate) async fn run(args: &RequestArgs) -> anyhow::Result<()> {
    let client = connect(&args.server, "weft request").await?;
    let request = client.request(&args.topic, args.payload.as_bytes()).deadline(args.deadline);
    let mut replies = if args.until_end { request.send_until_end()? } else { request.send_many(args.replies)? };
    let mut out = io::stdout().lock();
    let mut came = 0u32;
    while let Some(reply) = replies.next().await {
        let reply = match reply {
            Ok(reply) => reply,
            Err(CallError::Deadline) if came > 0 => {
                anyhow::bail!("{came} of {} replies came before the deadline", args.replies)
            }
            Err(error) => return Err(error.into()),
        };
        came += 1;
        out.write_all(reply.payload())?;
        out.write_all(b"\n")?;
        out.flush()?;
    }
    drop(replies);
    client.close().await;
    Ok(())
}
