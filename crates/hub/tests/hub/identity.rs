//! Hubs that are not who they say, or are so twice: copied, set back, renamed,
//! or a second one of a name. Each is refused with the reason, everybody in the
//! mesh is told, and the operator has a way out.

use std::path::Path;

use crate::common::mesh::{authority, link_addr, member, until};
use crate::common::{Raw, crashed, start, stop};
use weft_hub::{Hub, HubOptions};
use weft_transport::ca::Authority;

/// New York, which remembers, and what is to be linked to it.
struct Mesh {
    ca: Authority,
    data: tempfile::TempDir,
    east: Hub,
}

impl Mesh {
    fn new() -> Self {
        let (ca, data) = (authority(), tempfile::tempdir().expect("a folder"));
        let east = start(Self::east(&ca, data.path(), "127.0.0.1:0"));
        Self { ca, data, east }
    }

    fn east(ca: &Authority, data: &Path, addr: &str) -> HubOptions {
        let mut options = member(ca, "new-york", addr, &[]);
        options.data = Some(data.to_owned());
        options
    }

    /// A hub of this name with this folder, linked to New York if it may be.
    fn hub(&self, name: &str, data: &Path, new_instance: bool) -> Hub {
        let mut options = member(&self.ca, name, "127.0.0.1:0", &[("new-york", link_addr(&self.east))]);
        options.data = Some(data.to_owned());
        options.new_instance = new_instance;
        start(options)
    }

    /// The same, once it is linked.
    fn linked(&self, name: &str, data: &Path, new_instance: bool) -> Hub {
        let hub = self.hub(name, data, new_instance);
        let mut client = Raw::connect(&hub, 1);
        until(&mut client, "it is linked", |r| r.hubs.iter().filter(|h| h.reachable).count() == 2);
        let mut client = Raw::connect(&self.east, 2);
        until(&mut client, "it is known", |r| r.hubs.iter().any(|h| h.name == name && h.reachable));
        hub
    }

    fn stop_all(self, hubs: impl IntoIterator<Item = Hub>) {
        hubs.into_iter().for_each(stop);
        stop(self.east);
    }
}

/// Waits until a hub shows that a hub of this name was refused for this reason.
fn shows(hub: &Hub, refused: &str) {
    until(&mut Raw::connect(hub, 3), refused, |r| r.counters.iter().any(|c| c.name == refused && c.value > 0));
}

/// A hub that was refused reaches nobody. What it takes for a link, until it
/// hears that it is refused, leads nowhere.
fn is_alone(hub: &Hub) {
    until(&mut Raw::connect(hub, 5), "it is alone", |r| r.hubs.iter().filter(|h| h.reachable).count() == 1);
}

#[test]
fn a_copy_of_a_hub_that_runs_is_refused_and_both_sides_are_told() {
    let mesh = Mesh::new();
    let data = tempfile::tempdir().expect("a folder");
    stop(mesh.linked("chicago", data.path(), false));
    let copy = crashed(data.path());
    let chicago = mesh.linked("chicago", data.path(), false);
    let second = mesh.hub("chicago", copy.path(), false);
    shows(&mesh.east, "refused.chicago.cloned");
    shows(&chicago, "refused.chicago.cloned");
    is_alone(&second);
    let both = |r: &weft_wire::frame::MeshReport<'_>| r.hubs.iter().filter(|h| h.reachable).count() == 2;
    until(&mut Raw::connect(&chicago, 6), "the first one keeps its link", both);
    mesh.stop_all([second, chicago]);
}

#[test]
fn a_second_hub_of_a_name_is_refused_while_the_first_is_there_and_takes_over_when_it_is_gone() {
    let mesh = Mesh::new();
    let (data, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let first = mesh.linked("chicago", data.path(), false);
    let second = mesh.hub("chicago", other.path(), false);
    shows(&mesh.east, "refused.chicago.name_taken");
    shows(&first, "refused.chicago.name_taken");
    let epoch = second.identity().epoch;
    stop(first);
    let mut client = Raw::connect(&mesh.east, 4);
    until(&mut client, "the second one is in", |r| r.hubs.iter().any(|h| h.reachable && h.epoch == epoch));
    mesh.stop_all([second]);
}

#[test]
fn a_folder_that_was_set_back_is_refused_also_after_its_neighbours_restart_until_it_is_a_new_one() {
    let mut mesh = Mesh::new();
    let data = tempfile::tempdir().expect("a folder");
    stop(mesh.linked("chicago", data.path(), false));
    let backup = crashed(data.path());
    stop(mesh.linked("chicago", data.path(), false));
    let addr = link_addr(&mesh.east);
    stop(mesh.east);
    mesh.east = start(Mesh::east(&mesh.ca, mesh.data.path(), &addr));
    let restored = mesh.hub("chicago", backup.path(), false);
    shows(&mesh.east, "refused.chicago.rolled_back");
    is_alone(&restored);
    stop(restored);
    stop(mesh.linked("chicago", backup.path(), true));
    let again = mesh.linked("chicago", backup.path(), false);
    mesh.stop_all([again]);
}

#[test]
fn a_hub_that_was_renamed_is_refused_with_its_old_name() {
    let mesh = Mesh::new();
    let data = tempfile::tempdir().expect("a folder");
    stop(mesh.linked("chicago", data.path(), false));
    let description = data.path().join("weft.json");
    let text = std::fs::read_to_string(&description).expect("a description");
    std::fs::write(&description, text.replace("chicago", "boston")).expect("it can be written");
    let renamed = mesh.hub("boston", data.path(), false);
    shows(&mesh.east, "refused.boston.renamed");
    is_alone(&renamed);
    stop(renamed);
    let renamed = mesh.linked("boston", data.path(), true);
    mesh.stop_all([renamed]);
}
