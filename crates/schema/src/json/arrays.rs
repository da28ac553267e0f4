//! The reader's rules for arrays.
use super::compat::{At, Known, Proof};
use super::nodes::Node;
use super::types::Types;

/// What is known of the item at `index` of an array.
fn item(proof: &Proof<'_>, known: &Known, index: usize) -> Known {
    let mut all = Vec::new();
    for at in &known.all {
        let node = proof.at(*at);
        if let Some(place) = node.prefix.get(index).copied().or(node.items) {
            all.push(At { place, ..*at });
        }
    }
    proof.known(Types::ALL, &all)
}

/// The reader's rules for arrays.
pub(super) fn arrays(proof: &mut Proof<'_>, reader: At, known: &Known) -> bool {
    if !known.types.meets(Types::ARRAY) {
        return true;
    }
    let node = proof.at(reader);
    let facts: Vec<&Node> = known.all.iter().map(|at| proof.at(*at)).collect();
    let least = facts.iter().map(|fact| fact.min_items).max().unwrap_or(0);
    let most = facts.iter().filter_map(|fact| fact.max_items).min();
    let mut good = true;
    if least < node.min_items {
        good &= proof.against(
            reader,
            "MIN_ITEMS_INCREASED",
            format!("the reader asks for at least {} items", node.min_items),
        );
    }
    if let Some(limit) = node.max_items
        && most.is_none_or(|most| most > limit)
    {
        good &= proof.against(reader, "MAX_ITEMS_DECREASED", format!("the reader takes at most {limit} items"));
    }
    if node.unique && !facts.iter().any(|fact| fact.unique) && most.is_none_or(|most| most > 1) {
        good &= proof.against(reader, "UNIQUE_ITEMS_ADDED", "the reader's items must differ from each other");
    }
    good &= items(proof, reader, known, most);
    if let Some(contains) = &node.contains {
        let alike = known.all.iter().any(|at| {
            let Some(fact) = &proof.at(*at).contains else { return false };
            let (ours, theirs) = (At { place: contains.place, ..reader }, At { place: fact.place, ..*at });
            let inner = proof.known(Types::ALL, &[theirs]);
            let enough = contains.at_least == 0
                || (fact.at_least >= contains.at_least && proof.quietly(|proof| proof.reads(ours, &inner)));
            let few = match (contains.at_most, fact.at_most) {
                (None, _) => true,
                (Some(ours_most), Some(most)) if most <= ours_most => {
                    let inner = proof.known(Types::ALL, &[ours]);
                    proof.quietly(|proof| proof.reads(theirs, &inner))
                }
                _ => false,
            };
            enough && few
        });
        let nothing = contains.at_least == 0 && contains.at_most.is_none();
        good &= alike
            || nothing
            || proof.against(reader, "UNDECIDED", "what the reader's `contains` asks for does not follow");
    }
    good
}

/// The schemas of the reader's items, place by place and then of the rest.
fn items(proof: &mut Proof<'_>, reader: At, known: &Known, most: Option<u64>) -> bool {
    let node = proof.at(reader);
    if node.prefix.is_empty() && node.items.is_none() {
        return true;
    }
    let longest = known.all.iter().map(|at| proof.at(*at).prefix.len()).max().unwrap_or(0).max(node.prefix.len());
    let mut good = true;
    for index in 0..=longest {
        if most.is_some_and(|most| index as u64 >= most) {
            break;
        }
        let Some(place) = node.prefix.get(index).copied().or(node.items) else { continue };
        let inner = item(proof, known, index);
        good &= proof.reads(At { place, ..reader }, &inner);
    }
    good
}
