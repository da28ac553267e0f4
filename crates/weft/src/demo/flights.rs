//! The flights, and the events that they make.
//!
//! Every flight that left New York's airports on 1 to 3 January 2013 (see
//! `examples/flights/README.md`). A flight departs at New York's hub and
//! arrives at the hub nearest to its destination; a delay of over an hour is
//! an alert as well.

use std::collections::BTreeMap;

use serde_json::json;

const FLIGHTS: &str = include_str!("../../../../examples/flights/flights-2013-01-01_03.csv");
const AIRPORTS: &str = include_str!("../../../../examples/flights/airports.csv");
const AIRLINES: &str = include_str!("../../../../examples/flights/airlines.csv");

/// The hubs, in the line in which they are linked.
pub(crate) const HUBS: [HubPlace; 3] = [
    HubPlace { name: "new-york", region: "us-east", shown: "New York", latitude: 40.64, longitude: -73.78 },
    HubPlace { name: "chicago", region: "us-central", shown: "Chicago", latitude: 41.98, longitude: -87.90 },
    HubPlace { name: "los-angeles", region: "us-west", shown: "Los Angeles", latitude: 33.94, longitude: -118.41 },
];

/// A hub by its place in [`HUBS`].
pub(crate) type HubIndex = usize;

/// Where a hub stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HubPlace {
    pub(crate) name: &'static str,
    pub(crate) region: &'static str,
    pub(crate) shown: &'static str,
    pub(crate) latitude: f64,
    pub(crate) longitude: f64,
}

/// A delay from which on there is an alert, in minutes.
const ALERT: i64 = 60;

/// What kind of event it is; each kind has a publisher of its own at each hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Departed,
    Arrived,
    Alert,
}

/// An event to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Planned {
    /// Minutes since 1970, UTC, at which it happens.
    pub(crate) minute: i64,
    pub(crate) hub: HubIndex,
    pub(crate) kind: Kind,
    pub(crate) topic: String,
    pub(crate) payload: String,
    /// The last event of a publisher: published once all else is over.
    pub(crate) closing: bool,
}

#[derive(Clone, Debug)]
struct Airport {
    name: String,
    latitude: f64,
    longitude: f64,
    /// Minutes to add to UTC.
    offset: i64,
}

/// Everything that happens, in order of time.
pub(crate) fn plan() -> anyhow::Result<Vec<Planned>> {
    let airports: BTreeMap<&str, Airport> = rows(AIRPORTS).filter_map(|row| airport(&row)).collect();
    let airlines: BTreeMap<&str, &str> = rows(AIRLINES).filter_map(|row| Some((*row.first()?, *row.get(1)?))).collect();
    let mut planned = Vec::new();
    for row in rows(FLIGHTS) {
        let flight = Flight::read(&row).ok_or_else(|| anyhow::anyhow!("a flight cannot be read: {}", row.join(",")))?;
        flight.events(&airports, &airlines, &mut planned);
    }
    // Stable, so that the order is the same in every run.
    planned.sort_by_key(|event| event.minute);
    let last = planned.last().map_or(0, |event| event.minute);
    for (hub, place) in HUBS.iter().enumerate() {
        planned.extend(closing(hub, place, last + 1));
    }
    Ok(planned)
}

/// The last events of a hub's publishers, one in each lane. What is lost on the
/// way to another hub is noticed there when the next event comes: these make
/// sure that there is a next one.
fn closing(hub: HubIndex, place: &HubPlace, minute: i64) -> [Planned; 2] {
    let event = |kind, what: &str| Planned {
        minute,
        hub,
        kind,
        topic: format!("flights/{what}/closing/{}", place.name),
        payload: json!({ "closing": place.shown }).to_string(),
        closing: true,
    };
    [event(Kind::Arrived, "arrived"), event(Kind::Alert, "alerts/arrival")]
}

fn rows(csv: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    // Names with a comma stand in quotes.
    csv.lines().skip(1).filter(|line| !line.is_empty()).map(|line| {
        let mut quoted = false;
        line.split(|c: char| {
            quoted ^= c == '"';
            c == ',' && !quoted
        })
        .map(|field| field.trim_matches('"'))
        .collect()
    })
}

fn airport(row: &[&'static str]) -> Option<(&'static str, Airport)> {
    let number = |i: usize| row.get(i)?.parse::<f64>().ok();
    let airport = Airport {
        name: (*row.get(1)?).to_owned(),
        latitude: number(2)?,
        longitude: number(3)?,
        offset: (number(5)? * 60.0) as i64,
    };
    Some((*row.first()?, airport))
}

/// The hub that is nearest, by great circle.
fn nearest(airport: &Airport) -> HubIndex {
    let distance = |hub: &HubPlace| {
        let (a, b) = (airport.latitude.to_radians(), hub.latitude.to_radians());
        let difference = (airport.longitude - hub.longitude).to_radians();
        (a.sin() * b.sin() + a.cos() * b.cos() * difference.cos()).clamp(-1.0, 1.0).acos()
    };
    let nearest = HUBS.iter().enumerate().min_by(|(_, a), (_, b)| distance(a).total_cmp(&distance(b)));
    nearest.map_or(0, |(index, _)| index)
}

struct Flight {
    carrier: &'static str,
    number: &'static str,
    tail: &'static str,
    origin: &'static str,
    destination: &'static str,
    distance: i64,
    /// Scheduled, in minutes since 1970, UTC.
    scheduled: i64,
    /// None: cancelled.
    departure_delay: Option<i64>,
    arrival_delay: Option<i64>,
    air_time: Option<i64>,
    /// Local, minutes since midnight.
    arrival: Option<i64>,
}

impl Flight {
    fn read(row: &[&'static str]) -> Option<Self> {
        let number = |i: usize| row.get(i).and_then(|field| field.parse::<i64>().ok());
        let clock = |i: usize| number(i).map(|hhmm| hhmm / 100 * 60 + hhmm % 100);
        let hour = crate::time::parse_rfc3339(row.get(18)?)?;
        let departed = clock(3);
        Some(Self {
            carrier: row.get(9)?,
            number: row.get(10)?,
            tail: row.get(11)?,
            origin: row.get(12)?,
            destination: row.get(13)?,
            distance: number(15)?,
            scheduled: i64::try_from(hour.0 / 60_000_000_000).ok()? + number(17)?,
            departure_delay: departed.and(number(5)),
            arrival_delay: number(8),
            air_time: number(14),
            arrival: clock(6),
        })
    }

    fn events(
        &self,
        airports: &BTreeMap<&'static str, Airport>,
        airlines: &BTreeMap<&'static str, &'static str>,
        out: &mut Vec<Planned>,
    ) {
        let Some(delay) = self.departure_delay else { return };
        let left = self.scheduled + delay;
        let place = airports.get(self.destination);
        let payload = |delay: i64| {
            json!({
                "flight": format!("{} {}", self.carrier, self.number),
                "airline": airlines.get(self.carrier).unwrap_or(&self.carrier),
                "tail": self.tail, "from": self.origin, "to": self.destination,
                "destination": place.map_or(self.destination, |airport| airport.name.as_str()),
                "miles": self.distance, "delayMinutes": delay,
            })
            .to_string()
        };
        let (from, to, carrier) = (self.origin, self.destination, self.carrier);
        let mut add = |minute, hub, kind, topic, delay| {
            out.push(Planned { minute, hub, kind, topic, payload: payload(delay), closing: false });
        };
        add(left, 0, Kind::Departed, format!("flights/departed/{from}/{to}/{carrier}"), delay);
        if delay > ALERT {
            add(left, 0, Kind::Alert, format!("flights/alerts/departure/{from}/{to}/{carrier}"), delay);
        }
        // Islands that the list of airports does not have are nearest to New York.
        let hub = place.map_or(0, nearest);
        let (Some(landed), Some(delay)) = (self.landed(left, place), self.arrival_delay) else { return };
        add(landed, hub, Kind::Arrived, format!("flights/arrived/{to}/{from}/{carrier}"), delay);
        if delay > ALERT {
            add(landed, hub, Kind::Alert, format!("flights/alerts/arrival/{to}/{from}/{carrier}"), delay);
        }
    }

    /// When it landed: the data has local time without a date, so it is the
    /// one nearest to departure and time in the air.
    fn landed(&self, left: i64, place: Option<&Airport>) -> Option<i64> {
        let about = left + self.air_time?;
        let Some(place) = place else { return Some(about) };
        let of_day = self.arrival? - place.offset;
        let day = 24 * 60;
        let off = (of_day - about).rem_euclid(day);
        let landed = about + if off > day / 2 { off - day } else { off };
        Some(landed.max(left + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flight_that_left_departs_once_and_lands_after_it_left() {
        let plan = plan().expect("the data is in the program");
        let count = |kind| plan.iter().filter(|event| event.kind == kind).count();
        let rows = rows(FLIGHTS).count();
        assert_eq!(rows, 2_699);
        assert!(count(Kind::Departed) <= rows && count(Kind::Departed) > 2_600);
        assert!(count(Kind::Arrived) <= count(Kind::Departed) && count(Kind::Arrived) > 2_500);
        assert!(count(Kind::Alert) > 200);
        assert!(plan.is_sorted_by_key(|event| event.minute));
        let closing: Vec<_> = plan.iter().filter(|event| event.closing).map(|event| (event.hub, event.kind)).collect();
        assert_eq!(closing.len(), 2 * HUBS.len());
        assert!(plan[plan.len() - closing.len()..].iter().all(|event| event.closing));
        let days = (plan[plan.len() - 1].minute - plan[0].minute) / (24 * 60);
        assert!((2..=4).contains(&days), "{days} days");
    }

    #[test]
    fn flights_land_at_the_hub_nearest_to_their_destination() {
        let plan = plan().expect("the data is in the program");
        for (topic, hub) in [("flights/arrived/ORD/", 1), ("flights/arrived/SFO/", 2), ("flights/arrived/BOS/", 0)] {
            assert!(plan.iter().filter(|e| e.topic.starts_with(topic)).all(|e| e.hub == hub), "{topic}");
            assert!(plan.iter().any(|e| e.topic.starts_with(topic)), "{topic}");
        }
        assert!(plan.iter().filter(|e| e.kind == Kind::Departed).all(|e| e.hub == 0));
    }
}
