//! Last values, found without any consumer.

use weft_base::UnixNanos;
use weft_log::LogBlock;
use weft_stream::intake::{Last, LastTable, is_expired};
use weft_topic::{Filter, Topic};
use weft_wire::frame::{self, ErrorCode, LastValues};

use super::{AppendStage, Stream};
use crate::messages::{LastAsked, ToNet};

/// The most last values of one answer.
const MOST: usize = 1_024;
/// The most bytes of one answer, all blocks together: what is beyond is asked
/// for with a narrower filter.
const MOST_BYTES: usize = 16 << 20;

type Refused = (ErrorCode, String);

impl AppendStage {
    fn stream_named(&mut self, name: &str) -> Result<&mut Stream, Refused> {
        let slot = self.names.get(name).copied();
        let found = slot.and_then(|slot| self.stream(slot));
        found.ok_or_else(|| (ErrorCode::NO_STREAM, format!("this hub has no stream `{name}`")))
    }

    /// Answers with the last values that were asked for.
    pub(super) fn last_get(&mut self, asked: &LastAsked) {
        let now = self.now.wall;
        let found = self.stream_named(&asked.stream).and_then(|stream| stream.last_values(asked, now));
        match found {
            Ok(found) => {
                for (block, event) in found {
                    let bytes = block.as_ref();
                    let head = frame::found_head(asked.id, event, bytes.len());
                    self.net.push(ToNet::Control { session: asked.session, bytes: [&head[..], bytes].concat() });
                }
                self.done(asked.session, asked.id);
            }
            Err((code, detail)) => self.refuse_request(asked.session, asked.id, code, detail),
        }
    }
}

impl Stream {
    /// The last values that were asked for, each as its block and its place there.
    fn last_values(&mut self, asked: &LastAsked, now: UnixNanos) -> Result<Vec<(LogBlock, u32)>, Refused> {
        let name = &self.spec.name;
        match (self.index.mode(), &asked.key) {
            (LastValues::Off, _) => {
                let detail = format!("stream `{name}` keeps no last values: alter it to keep them");
                return Err((ErrorCode::NO_LAST_VALUES, detail));
            }
            (LastValues::Topic, Some(_)) => {
                let detail = format!("stream `{name}` keeps the last value of each topic, not of each key");
                return Err((ErrorCode::NO_LAST_VALUES, detail));
            }
            _ => {}
        }
        let most = if asked.most == 0 { MOST } else { MOST.min(asked.most as usize) };
        let mut prefix = Vec::new();
        if Topic::parse(asked.filter.as_str()).is_ok() {
            // One topic: what is wanted stands side by side.
            LastTable::key(asked.filter.as_str(), &[], &mut prefix);
        }
        let wanted = |key: &[u8]| is_wanted(&asked.filter, asked.key.as_deref(), key);
        let places = self.index.search(&prefix, most, wanted).map_err(|e| (ErrorCode::STORAGE, e.to_string()))?;
        let (mut found, mut bytes) = (Vec::new(), 0);
        for last in places {
            if let Some(block) = self.read_last(last, now) {
                bytes += block.as_ref().len();
                if bytes > MOST_BYTES {
                    let detail = format!("the answer has more than {MOST_BYTES} bytes: ask with a narrower filter");
                    return Err((ErrorCode::TOO_LARGE, detail));
                }
                found.push((block, last.event));
            }
        }
        Ok(found)
    }

    /// The block in which a last event stands; none when it went with the
    /// stream's retention, is damaged, or is of no use any more.
    fn read_last(&mut self, last: Last, now: UnixNanos) -> Option<LogBlock> {
        let upto = self.log.synced();
        let found = self.reader.read(last.block, upto, 1).ok()?.next()?;
        let block = found.block();
        let event = block.events().nth(last.event as usize)?;
        let is_removed = block.is_compacted() && event.is_removed();
        let there = block.stream_sequence() == last.block && !is_removed && !is_expired(block, &event, now);
        there.then_some(found)
    }
}

/// Whether a last value's key is of a topic, and of a key, that were asked for.
fn is_wanted(filter: &Filter, wanted: Option<&[u8]>, key: &[u8]) -> bool {
    let Some(topic) = LastTable::topic_of(key) else { return false };
    let rest = key.get(2 + topic.len()..).unwrap_or_default();
    wanted.is_none_or(|wanted| wanted == rest) && Topic::parse(topic).is_ok_and(|topic| filter.matches(topic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_last_value_is_wanted_by_topic_and_key() {
        let filter = Filter::parse("a/*").expect("a filter");
        let mut key = Vec::new();
        LastTable::key("a/b", b"k", &mut key);
        assert!(is_wanted(&filter, None, &key));
        assert!(is_wanted(&filter, Some(b"k"), &key));
        assert!(!is_wanted(&filter, Some(b"l"), &key));
        LastTable::key("b/b", b"k", &mut key);
        assert!(!is_wanted(&filter, None, &key));
        assert!(!is_wanted(&filter, None, b"\xff\xff"));
    }
}
