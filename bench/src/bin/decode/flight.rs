//! The flights of the example's file.
#![forbid(unsafe_code)]

use std::ops::Range;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// Flights that left New York; see the README beside the file.
const CSV: &str = include_str!("../../../../examples/flights/flights-2013-01-01_03.csv");

/// What a consumer wants of a flight.
pub(crate) type Wanted = (u16, Option<i16>, [u8; 3]);

/// A row of the file; fields of a flight that was cancelled are `NA`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Flight<S> {
    pub(crate) year: u16,
    pub(crate) month: u8,
    pub(crate) day: u8,
    pub(crate) dep_time: Option<i16>,
    pub(crate) sched_dep_time: i16,
    pub(crate) dep_delay: Option<i16>,
    pub(crate) arr_time: Option<i16>,
    pub(crate) sched_arr_time: i16,
    pub(crate) arr_delay: Option<i16>,
    pub(crate) carrier: S,
    pub(crate) flight: u16,
    pub(crate) tailnum: S,
    pub(crate) origin: S,
    pub(crate) dest: S,
    pub(crate) air_time: Option<i16>,
    pub(crate) distance: u16,
    pub(crate) hour: u8,
    pub(crate) minute: u8,
    pub(crate) time_hour: S,
}

impl<S: AsRef<str>> Flight<S> {
    pub(crate) fn wanted(&self) -> Option<Wanted> {
        Some((self.flight, self.arr_delay, *self.dest.as_ref().as_bytes().first_chunk()?))
    }

    /// The scheduled hour as Unix time: days by year, month and day, and hours in UTC.
    pub(crate) fn time(&self) -> Option<u64> {
        let text = self.time_hour.as_ref();
        let number = |range: Range<usize>| text.get(range)?.parse::<u64>().ok();
        // All flights are of January 2013, whose first day is 15,706 days after 1970's.
        let seconds = (15_706 + number(8..10)? - 1) * 86_400 + number(11..13)? * 3_600;
        Some(seconds * 1_000_000_000)
    }
}

pub(crate) fn flights() -> Result<Vec<Flight<&'static str>>> {
    let optional = |text: &str| if text.is_empty() || text == "NA" { Ok(None) } else { text.parse().map(Some) };
    let row = |line: &'static str| -> Result<Flight<&'static str>> {
        let cells: Vec<&str> = line.split(',').collect();
        let [
            year,
            month,
            day,
            dep_time,
            sched_dep_time,
            dep_delay,
            arr_time,
            sched_arr_time,
            arr_delay,
            carrier,
            flight,
            tailnum,
            origin,
            dest,
            air_time,
            distance,
            hour,
            minute,
            time_hour,
        ] = cells[..]
        else {
            anyhow::bail!("{} cells", cells.len());
        };
        Ok(Flight {
            year: year.parse()?,
            month: month.parse()?,
            day: day.parse()?,
            dep_time: optional(dep_time)?,
            sched_dep_time: sched_dep_time.parse()?,
            dep_delay: optional(dep_delay)?,
            arr_time: optional(arr_time)?,
            sched_arr_time: sched_arr_time.parse()?,
            arr_delay: optional(arr_delay)?,
            carrier,
            flight: flight.parse()?,
            tailnum,
            origin,
            dest,
            air_time: optional(air_time)?,
            distance: distance.parse()?,
            hour: hour.parse()?,
            minute: minute.parse()?,
            time_hour,
        })
    };
    CSV.lines().skip(1).map(|line| row(line).with_context(|| format!("the row `{line}`"))).collect()
}
