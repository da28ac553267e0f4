//! What files call hubs and links: names, regions and labels of hubs, and
//! `"a to b"` for a link.

use weft_sim::topology::{HubSpec, Topology};

/// The hub of this name.
pub(super) fn hub(hubs: &[HubSpec], name: &str) -> Result<usize, String> {
    hubs.iter().position(|hub| hub.name == name).ok_or_else(|| {
        let names: Vec<&str> = hubs.iter().map(|hub| hub.name.as_str()).take(20).collect();
        format!("no hub is called `{name}`: add a `[[hub]]`, or name one of {}", names.join(", "))
    })
}

/// All hubs of these names, `region:NAME` and `label:NAME`; each once, in order.
pub(super) fn hubs(hubs: &[HubSpec], names: &[String]) -> Result<Vec<usize>, String> {
    let mut found = Vec::new();
    for name in names {
        let is_of: Box<dyn Fn(&HubSpec) -> bool> = match (name.strip_prefix("region:"), name.strip_prefix("label:")) {
            (Some(region), _) => Box::new(move |hub| hub.region == region),
            (_, Some(label)) => Box::new(move |hub| hub.labels.iter().any(|known| known == label)),
            _ => {
                found.push(hub(hubs, name)?);
                continue;
            }
        };
        let before = found.len();
        found.extend(hubs.iter().enumerate().filter(|(_, hub)| is_of(hub)).map(|(number, _)| number));
        if found.len() == before {
            return Err(format!("no hub has `{name}`: give it to a `[[hub]]`, or name hubs"));
        }
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// The link between two hubs, and at which end the first one is: `"a to b"`.
pub(super) fn link(mesh: &Topology, text: &str) -> Result<(usize, usize), String> {
    let (from, to) = text.split_once(" to ").ok_or_else(|| format!("`{text}` names no link: write `\"a to b\"`"))?;
    let (from, to) = (hub(&mesh.hubs, from.trim())?, hub(&mesh.hubs, to.trim())?);
    let found = mesh.links.iter().enumerate().find_map(|(number, link)| match link.ends {
        ends if ends == [from, to] => Some((number, 0)),
        ends if ends == [to, from] => Some((number, 1)),
        _ => None,
    });
    found.ok_or_else(|| format!("there is no link `{text}`: add a `[[link]]`, or name another"))
}
