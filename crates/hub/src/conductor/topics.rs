//! Who publishes what? What the net stage knows of it, as facts.
//!
//! What a message between hubs has no room for is left out from a topic on, and the
//! answer says that there is more, so that who asks goes on behind the last.

use weft_topic::Filter;
use weft_wire::frame::{self, Ask, ErrorCode, Frame, MAX_FACTS, MAX_TOPICS, facts};

use super::Conductor;
use super::see::fitting;
use crate::messages::{SessionId, ToNet};
use crate::see::facts::Said;
use crate::see::look::Asker;
use crate::see::topics::{TopicRow, TopicsLook};

/// Facts and bytes that are kept for what is said of all topics together.
const BESIDE: (usize, usize) = (3, 128);

impl Conductor {
    /// A client asks who publishes what.
    pub(super) fn ask_for_topics(&mut self, session: SessionId, ask: Ask<'_>) {
        if !ask.topic.is_empty()
            && let Err(error) = Filter::parse(ask.topic)
        {
            let detail = error.to_string();
            let (request, code) = (ask.request, ErrorCode::BAD_FILTER);
            let refusal = frame::ErrorFrame { request, code, retry_after_ms: 0, detail: &detail };
            return self.control(session, &Frame::Error(refusal));
        }
        let own = |hub: &mut Self, number| {
            hub.look_for_topics(Asker::Here(number), &ask);
            None
        };
        self.open(session, ask.request, ask.wait_ms, |request| Frame::Ask(Ask { request, ..ask }), own);
    }

    /// Has the net stage look.
    pub(super) fn look_for_topics(&mut self, asker: Asker, ask: &Ask<'_>) {
        let filter = match ask.topic {
            "" => None,
            text => match Filter::parse(text) {
                Ok(filter) => Some(filter),
                // The hub that asks has looked at it: it is of another version.
                Err(_) => return,
            },
        };
        let most = if ask.page.most == 0 { MAX_TOPICS } else { ask.page.most.min(MAX_TOPICS) };
        self.net.push(ToNet::Topics(Box::new(TopicsLook {
            asker,
            filter,
            search: ask.page.search.to_owned(),
            after: ask.page.after.to_owned(),
            most: most as usize,
            more: false,
            untold: 0,
            rows: Vec::new(),
        })));
    }

    /// It has looked.
    pub(super) fn looked_for_topics(&mut self, look: &TopicsLook) {
        let clock = Said::number(facts::CLOCK, self.now.wall.0);
        let said = of_topics(look, clock, self.fact_bytes());
        match look.asker {
            Asker::Here(number) => self.answer_here(number, &said),
            Asker::Hub(hub, request) => self.answer_hub(hub, request, &said),
        }
    }
}

/// What is said, in so many bytes.
fn of_topics(look: &TopicsLook, clock: Said, bytes: usize) -> Vec<Said> {
    let mut said = vec![clock];
    let (mut room, mut more) = (bytes.saturating_sub(BESIDE.1), look.more);
    for row in &look.rows {
        let of_row = of_row(row);
        let most = MAX_FACTS.saturating_sub(said.len() + BESIDE.0);
        if fitting(&of_row, room, most) < of_row.len() {
            more = true;
            break;
        }
        room -= of_row.iter().map(Said::cost).sum::<usize>();
        said.extend(of_row);
    }
    if more {
        said.push(Said::number(facts::MORE, 1));
    }
    if look.untold > 0 {
        said.push(Said::number(facts::UNTOLD, look.untold));
    }
    said
}

fn of_row(row: &TopicRow) -> Vec<Said> {
    let mut said = vec![Said::text(facts::PUBLISHED, row.topic.clone(), row.sessions)];
    for publisher in &row.publishers {
        said.push(Said::text(facts::BY, publisher.client.clone(), publisher.events));
        if !publisher.principal.is_empty() {
            said.push(Said::text(facts::PRINCIPAL, publisher.principal.clone(), 0));
        }
        said.push(Said::number(facts::LAST_AT, publisher.at.0));
    }
    said
}

#[cfg(test)]
mod tests {
    use weft_base::{HubId, UnixNanos};

    use super::*;
    use crate::see::topics::Publisher;

    #[test]
    fn what_does_not_fit_is_left_out_from_a_topic_on_and_the_answer_says_so() {
        let publisher = |n: u64| Publisher {
            client: format!("client-{n}"),
            principal: if n == 0 { String::new() } else { format!("air/anna-{n}") },
            events: n,
            at: UnixNanos(n),
        };
        let row =
            |n: u64| TopicRow { topic: format!("t/{n:03}"), sessions: 9, publishers: (0..8).map(publisher).collect() };
        let mut look = TopicsLook {
            asker: Asker::Hub(HubId(1), 1),
            filter: None,
            search: String::new(),
            after: String::new(),
            most: 200,
            more: false,
            untold: 2,
            rows: (0..200).map(row).collect(),
        };
        let say = |look: &TopicsLook, bytes| {
            let said = of_topics(look, Said::number(facts::CLOCK, 1), bytes);
            let number = |name: &str| said.iter().filter(|fact| fact.name == name).count();
            assert!(said.len() <= MAX_FACTS && said.iter().map(Said::cost).sum::<usize>() <= bytes, "{bytes}");
            assert_eq!(number(facts::BY), 8 * number(facts::PUBLISHED), "none is cut in two");
            assert_eq!(number(facts::PRINCIPAL), 7 * number(facts::PUBLISHED));
            assert_eq!(number(facts::UNTOLD), 1);
            (number(facts::PUBLISHED), number(facts::MORE))
        };
        assert_eq!(say(&look, 1 << 20), (200, 0));
        let (rows, more) = say(&look, 40_000);
        assert!(more == 1 && (1..200).contains(&rows), "{rows}");
        look.more = true;
        assert_eq!(say(&look, 1 << 20), (200, 1));
    }
}
