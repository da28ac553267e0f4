//! Reads a fault plan: which keys there are, and what each says.

use weft_sim::topology::{FaultKind, FaultPlan, FaultSpec, Span, Topology};

use super::names;
use crate::config::parse_with;
use crate::config::reader::{Problem, Problems, Section};

/// Reads the faults of a mesh; every mistake, in order of place.
pub(super) fn parse(text: &str, mesh: &Topology) -> Result<FaultPlan, Vec<Problem>> {
    let read = |mut top: Section<'_, '_>, problems: &mut Problems| {
        let sections = top.sections("fault", problems);
        let faults = sections.into_iter().filter_map(|section| fault(section, mesh, problems)).collect();
        top.finish(problems);
        FaultPlan { faults }
    };
    parse_with(text, read, |plan| plan.mistakes(mesh).into_iter().map(|m| (m.place, m.message)).collect())
}

/// The word for a fault.
#[derive(Clone, Copy)]
enum Word {
    Cut,
    CutOneWay,
    Heal,
    Delay,
    Loss,
    Bandwidth,
    Kill,
    OldState,
    Stop,
    Drain,
    Clock,
    Expire,
    Partition,
    Merge,
}

const WORDS: [(&str, Word); 14] = [
    ("cut", Word::Cut),
    ("cut-one-way", Word::CutOneWay),
    ("heal", Word::Heal),
    ("delay", Word::Delay),
    ("loss", Word::Loss),
    ("bandwidth", Word::Bandwidth),
    ("kill", Word::Kill),
    ("old-state", Word::OldState),
    ("stop", Word::Stop),
    ("drain", Word::Drain),
    ("clock", Word::Clock),
    ("expire", Word::Expire),
    ("partition", Word::Partition),
    ("merge", Word::Merge),
];

fn fault(mut section: Section<'_, '_>, mesh: &Topology, problems: &mut Problems) -> Option<FaultSpec> {
    let word = section.choice("what", &WORDS, problems);
    section.needs("what", "\"cut\"", problems);
    let at = section.span("at", problems);
    section.needs("at", "\"10 s\"", problems);
    let times = section.number("times", problems).unwrap_or(1);
    let kind = word.and_then(|word| kind(word, &mut section, mesh, problems));
    // A merge, a jump of the clock and a repair have no end.
    let lasts = match word {
        Some(Word::Merge | Word::Clock | Word::Heal) => None,
        _ => section.span("lasts", problems),
    };
    // What cannot be read is told by itself; the keys of its kind are not known.
    if kind.is_some() {
        section.finish(problems);
    }
    Some(FaultSpec { at: span(at?), times, lasts: lasts.map(span), kind: kind? })
}

fn span([least, most]: [std::time::Duration; 2]) -> Span {
    Span { least, most }
}

fn kind(word: Word, section: &mut Section<'_, '_>, mesh: &Topology, problems: &mut Problems) -> Option<FaultKind> {
    Some(match word {
        Word::Cut => {
            let noticed = section.boolean("noticed", problems).unwrap_or(true);
            FaultKind::Cut { links: links(section, mesh, problems)?, noticed }
        }
        Word::CutOneWay => {
            let Some(texts) = section.texts("links", problems) else {
                return (!section.has("links"))
                    .then(|| FaultKind::CutOneWay { links: (0..mesh.links.len()).map(|link| (link, None)).collect() });
            };
            let named = named_links(section, mesh, &texts, problems)?;
            FaultKind::CutOneWay { links: named.into_iter().map(|(link, from)| (link, Some(from))).collect() }
        }
        Word::Heal => FaultKind::Heal { links: links(section, mesh, problems)? },
        Word::Delay => {
            let delay = section.span("delay", problems);
            section.needs("delay", "\"200 ms\"", problems);
            FaultKind::Delay { links: links(section, mesh, problems)?, delay: span(delay?) }
        }
        Word::Loss => {
            let ppm = section.share("loss", problems);
            section.needs("loss", "\"2 %\"", problems);
            FaultKind::Loss { links: links(section, mesh, problems)?, ppm: ppm? }
        }
        Word::Bandwidth => {
            let bandwidth = section.rate("bandwidth", problems);
            section.needs("bandwidth", "\"100 KiB/s\"", problems);
            FaultKind::Bandwidth { links: links(section, mesh, problems)?, bandwidth: bandwidth?.0 }
        }
        Word::Kill => FaultKind::Kill { hubs: hubs(section, mesh, problems)? },
        Word::OldState => FaultKind::OldState { hubs: hubs(section, mesh, problems)? },
        Word::Stop => FaultKind::Stop { hubs: hubs(section, mesh, problems)? },
        Word::Drain => FaultKind::Drain { hubs: hubs(section, mesh, problems)? },
        Word::Clock => {
            let by = section.jump("by", problems);
            section.needs("by", "\"-90 s\"", problems);
            FaultKind::ClockJump { hubs: hubs(section, mesh, problems)?, seconds: by? }
        }
        Word::Expire => FaultKind::Expire { hubs: hubs(section, mesh, problems)? },
        Word::Partition => {
            let noticed = section.boolean("noticed", problems).unwrap_or(true);
            FaultKind::Partition { sets: sets(section, mesh, problems)?, noticed }
        }
        Word::Merge => FaultKind::Merge { sets: sets(section, mesh, problems)? },
    })
}

/// The links that are named; all, when none is.
fn links(section: &mut Section<'_, '_>, mesh: &Topology, problems: &mut Problems) -> Option<Vec<usize>> {
    match section.texts("links", problems) {
        Some(texts) => {
            named_links(section, mesh, &texts, problems).map(|found| found.into_iter().map(|(link, _)| link).collect())
        }
        None => (!section.has("links")).then(|| (0..mesh.links.len()).collect()),
    }
}

fn named_links(
    section: &Section<'_, '_>,
    mesh: &Topology,
    texts: &[String],
    problems: &mut Problems,
) -> Option<Vec<(usize, usize)>> {
    let found: Result<Vec<_>, String> = texts.iter().map(|text| names::link(mesh, text)).collect();
    found.map_err(|message| problems.add_at(&section.path_of("links"), &message)).ok()
}

/// The hubs that are named; all, when none is.
fn hubs(section: &mut Section<'_, '_>, mesh: &Topology, problems: &mut Problems) -> Option<Vec<usize>> {
    match section.texts("hubs", problems) {
        Some(texts) => {
            names::hubs(&mesh.hubs, &texts).map_err(|message| problems.add_at(&section.path_of("hubs"), &message)).ok()
        }
        None => (!section.has("hubs")).then(|| (0..mesh.hubs.len()).collect()),
    }
}

fn sets(section: &mut Section<'_, '_>, mesh: &Topology, problems: &mut Problems) -> Option<Vec<Vec<usize>>> {
    let lists = section.lists("sets", problems);
    section.needs("sets", "[[\"region:us\"], [\"region:eu\"]]", problems);
    let sets: Result<Vec<_>, String> = lists?.iter().map(|names| names::hubs(&mesh.hubs, names)).collect();
    sets.map_err(|message| problems.add_at(&section.path_of("sets"), &message)).ok()
}
