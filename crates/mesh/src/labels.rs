//! Labels of hubs, as records carry them: each a u8 length and a name, ascending.
//! What makes no sense in a record of another hub counts as no label.

use crate::options::{MAX_LABEL, MAX_LABELS};

/// The labels as an attribute; none when there are none.
pub(crate) fn encode(labels: &[String]) -> Option<Vec<u8>> {
    let mut sorted: Vec<&[u8]> = labels.iter().map(String::as_bytes).filter(|l| is_label(l)).collect();
    sorted.sort_unstable();
    sorted.dedup();
    let mut bytes = Vec::new();
    for label in sorted.into_iter().take(MAX_LABELS) {
        // At most MAX_LABEL, so it fits.
        bytes.push(label.len() as u8);
        bytes.extend_from_slice(label);
    }
    (!bytes.is_empty()).then_some(bytes)
}

/// The labels in an attribute; none of one that breaks the rules.
pub(crate) fn decode(bytes: &[u8]) -> Vec<&str> {
    let mut labels = Vec::new();
    let mut rest = bytes;
    while let Some((len, after)) = rest.split_first() {
        let Some((label, after)) = after.split_at_checked(usize::from(*len)) else { return Vec::new() };
        let Ok(text) = std::str::from_utf8(label) else { return Vec::new() };
        if !is_label(label) || labels.len() >= MAX_LABELS || labels.last().is_some_and(|last| *last >= text) {
            return Vec::new();
        }
        labels.push(text);
        rest = after;
    }
    labels
}

fn is_label(bytes: &[u8]) -> bool {
    (1..=MAX_LABEL).contains(&bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_as_they_were_told_and_nonsense_is_no_label() {
        let labels = ["gdpr", "eu", "", "eu"].map(str::to_owned);
        let bytes = encode(&labels).expect("two labels");
        assert_eq!(decode(&bytes), ["eu", "gdpr"]);
        assert_eq!(encode(&[]), None);
        let cut = &bytes[..bytes.len() - 1];
        for wrong in [cut, b"\x02eu\x02eu", b"\x02eu\x01a", b"\0", b"\x01\xff"] {
            assert_eq!(decode(wrong), [""; 0], "{wrong:?}");
        }
        let many: Vec<String> = (0..40).map(|n| format!("label-{n}")).collect();
        assert_eq!(decode(&encode(&many).expect("some")).len(), MAX_LABELS);
    }
}
