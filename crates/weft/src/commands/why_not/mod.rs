//! `weft mesh why-not`: what stands between a topic and a subscriber, in words.

mod bars;
mod decide;
mod nearest;
mod said;

use std::io::{self, Write};

use serde_json::{Value, json};
use weft_base::{HubId, UnixNanos};
use weft_client::Question;

use self::decide::{Answer, Asked, Place, Reason, Weight, decide};
use crate::cli::WhyNotArgs;
use crate::connect::connect;
use crate::time::{rfc3339, show_duration};

/// Asks all hubs and says what they know together.
pub(crate) async fn run(args: &WhyNotArgs) -> anyhow::Result<()> {
    let (name, at) = match args.subscriber.rsplit_once('@') {
        Some((name, at)) if weft_hub::options::is_label(at) => (name, Some(at)),
        _ => (args.subscriber.as_str(), None),
    };
    let client = connect(&args.ask.server, "weft mesh why-not").await?;
    let question = Question::WhyNot {
        topic: args.topic.clone(),
        subscriber: name.to_owned(),
        from: args.from.as_deref().map(HubId::of_name),
    };
    let said = client.ask_mesh(&question, args.ask.wait).await?;
    client.close().await;
    let asked = Asked { topic: &args.topic, name, at, from: args.from.as_deref(), deadline: args.deadline };
    let answer = decide(&asked, &said);
    let mut out = io::stdout().lock();
    if args.ask.json {
        writeln!(out, "{}", object(&answer))?;
    } else {
        show(&asked, &answer, &mut out)?;
    }
    out.flush()?;
    Ok(())
}

fn show(asked: &Asked<'_>, answer: &Answer, out: &mut impl Write) -> io::Result<()> {
    let verdict = if answer.reaches() { "gets there" } else { "does not get there" };
    writeln!(out, "{}, published at {}, to `{}`: {verdict}", asked.topic, answer.entry, asked.name)?;
    if let Some(mapped) = &answer.mapped {
        writeln!(out, "{mapped}")?;
    }
    reasons(&answer.reasons, "", out)?;
    for place in &answer.places {
        show_place(place, out)?;
    }
    if !answer.silent.is_empty() {
        writeln!(out, "no answer: {}", answer.silent.join(", "))?;
    }
    Ok(())
}

fn show_place(place: &Place, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{}: {}", place.hub, place.what)?;
    if place.reasons.iter().all(|reason| reason.weight != Weight::Stops) {
        let takes = if place.takes.is_zero() { String::new() } else { format!(", {}", show_duration(place.takes)) };
        let less = if place.reasons.is_empty() { "nothing speaks against it" } else { "it gets there, but" };
        writeln!(out, "  {less}; the way: {}{takes}", place.way.join(" -> "))?;
    }
    reasons(&place.reasons, "  ", out)?;
    match place.got {
        Some((0, _)) => writeln!(out, "  it was sent nothing so far"),
        Some((got, at)) => writeln!(out, "  it was sent {got} events, the last at {}", rfc3339(UnixNanos(at))),
        None => Ok(()),
    }
}

fn reasons(reasons: &[Reason], indent: &str, out: &mut impl Write) -> io::Result<()> {
    for reason in reasons {
        writeln!(out, "{indent}- {} ({})", reason.what, reason.code)?;
        writeln!(out, "{indent}  -> {}", reason.remedy)?;
    }
    Ok(())
}

fn object(answer: &Answer) -> Value {
    let reason = |reason: &Reason| {
        json!({
            "code": reason.code, "stops": reason.weight == Weight::Stops, "hub": reason.hub,
            "what": reason.what, "remedy": reason.remedy,
        })
    };
    let reasons = |all: &[Reason]| all.iter().map(reason).collect::<Vec<_>>();
    let place = |place: &Place| {
        json!({
            "what": place.what, "hub": place.hub, "way": place.way, "takesUs": place.takes.as_micros() as u64,
            "sent": place.got.map(|(got, _)| got),
            "lastSent": place.got.filter(|(got, _)| *got > 0).map(|(_, at)| rfc3339(UnixNanos(at))),
            "reasons": reasons(&place.reasons),
        })
    };
    json!({
        "reaches": answer.reaches(), "entry": answer.entry, "mapped": answer.mapped, "reasons": reasons(&answer.reasons),
        "places": answer.places.iter().map(place).collect::<Vec<_>>(),
        "looked": answer.looked, "noAnswer": answer.silent,
    })
}

#[cfg(test)]
mod tests;
