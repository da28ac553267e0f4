//! Topics, filters and labels on the command line: what is none ends the program
//! with 2 before any hub is asked.

use weft_topic::{Filter, Topic};

/// A topic to publish to.
pub(super) fn topic(text: &str) -> Result<String, String> {
    Topic::parse(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

/// A filter of topics.
pub(super) fn filter(text: &str) -> Result<String, String> {
    Filter::parse(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

/// A label of hubs, or the name of one.
pub(super) fn label(text: &str) -> Result<String, String> {
    if weft_hub::options::is_label(text) {
        Ok(text.to_owned())
    } else {
        Err("take 1 to 64 of a-z, 0-9 and -".to_owned())
    }
}
