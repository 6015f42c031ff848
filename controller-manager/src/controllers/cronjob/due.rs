//! Which start is due, and when to look again.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use skiff_apimachinery::cron::{self, Schedule};
use skiff_client::types::CronJob;

/// Added to the time until the next start: clocks are not exact, and a look just before it would be in vain.
const MARGIN: SignedDuration = SignedDuration::from_millis(100);
/// More missed starts than this are worth a warning.
const MANY: i64 = 100;

/// The schedule of a CronJob, in its zone; `local` is for one without.
pub(super) fn schedule(cron_job: &CronJob, local: TimeZone) -> Result<Schedule, String> {
    let text = &cron_job.spec.schedule;
    let zone = match cron_job.spec.time_zone.as_deref() {
        // A zone within the schedule wins; an unknown zone is reported elsewhere.
        Some(name) if !text.contains("TZ") => cron::zone_named(name).unwrap_or(local),
        _ => local,
    };
    Schedule::parse(text, zone)
}

/// Starts that should have been made by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Missed {
    /// From when on starts count.
    earliest: Timestamp,
    /// The newest of them.
    pub(super) newest: Option<Timestamp>,
    /// How many there are, roughly.
    count: i64,
}

impl Missed {
    pub(super) fn are_many(&self) -> bool {
        self.count > MANY
    }
}

/// The starts that are due. The error is upstream's message.
pub(super) fn missed(
    cron_job: &CronJob,
    schedule: &Schedule,
    now: Timestamp,
    within_deadline: bool,
) -> Result<Missed, String> {
    let created = cron_job.metadata.creation_timestamp.unwrap_or(now);
    let mut earliest = cron_job.status.last_schedule_time.unwrap_or(created);
    if let Some(seconds) = cron_job.spec.starting_deadline_seconds.filter(|_| within_deadline) {
        let deadline = now.checked_sub(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MIN);
        earliest = earliest.max(deadline);
    }
    let senseless = || "time difference between two schedules is less than 1 second".to_owned();
    let first = schedule.next(earliest).ok_or_else(senseless)?;
    if now < first {
        return Ok(Missed { earliest, newest: None, count: 0 });
    }
    let second = schedule.next(first).ok_or_else(senseless)?;
    if now < second {
        return Ok(Missed { earliest, newest: Some(first), count: 0 });
    }
    let between = second.duration_since(first).as_secs();
    if between < 1 {
        return Err(senseless());
    }
    // Counting them one by one could take for ever. The first two tell roughly how many there are, and one interval
    // before the last of them the schedule itself is asked.
    let count = now.duration_since(first).as_secs() / between + 1;
    let from =
        first.checked_add(SignedDuration::from_secs((count - 2) * between)).map_err(|error| error.to_string())?;
    let mut newest = None;
    let mut next = schedule.next(from);
    while let Some(start) = next.filter(|start| *start <= now) {
        newest = Some(start);
        next = schedule.next(start);
    }
    Ok(Missed { earliest, newest, count })
}

/// How long until the next start; `None` if there is none.
pub(super) fn until_next(cron_job: &CronJob, schedule: &Schedule, now: Timestamp) -> Option<Duration> {
    let from = match missed(cron_job, schedule, now, false) {
        Err(_) => now,
        Ok(Missed { newest: Some(newest), .. }) => newest,
        Ok(Missed { newest: None, count: 0, earliest }) => earliest,
        Ok(_) => now,
    };
    let left = schedule.next(from)?.duration_since(now) + MARGIN;
    Some(Duration::try_from(left.max(MARGIN)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(schedule_text: &str, last: &str, deadline: Option<i64>, now: &str, expected: &str, next: u64) {
        let cron_job: CronJob = serde_json::from_value(json!({
            "spec": {"schedule": schedule_text, "startingDeadlineSeconds": deadline},
            "status": {"lastScheduleTime": last},
        }))
        .expect("a CronJob");
        let schedule = schedule(&cron_job, TimeZone::UTC).expect("a schedule");
        let now: Timestamp = now.parse().expect("a time");
        let found = match missed(&cron_job, &schedule, now, true) {
            Err(error) => error,
            Ok(Missed { newest: None, .. }) => "nothing".into(),
            Ok(missed) => {
                let newest = missed.newest.map(|time| time.to_string()).unwrap_or_default();
                if missed.are_many() { format!("{newest} of many") } else { newest }
            }
        };
        assert_eq!(found, expected, "{schedule_text} since {last} at {now}");
        let delay = until_next(&cron_job, &schedule, now).map_or(0, |delay| delay.as_millis() as u64);
        assert_eq!(delay, next, "{schedule_text} since {last} at {now}");
    }

    #[test]
    fn the_newest_start_that_is_due() {
        let hourly = "0 * * * *";
        check(hourly, "2026-01-02T10:00:00Z", None, "2026-01-02T10:30:00Z", "nothing", 1_800_100);
        check(hourly, "2026-01-02T10:00:00Z", None, "2026-01-02T11:00:01Z", "2026-01-02T11:00:00Z", 3_599_100);
        check(hourly, "2026-01-02T10:00:00Z", None, "2026-01-02T15:30:00Z", "2026-01-02T15:00:00Z", 1_800_100);
        check(hourly, "2026-01-02T10:00:00Z", None, "2026-02-02T15:30:00Z", "2026-02-02T15:00:00Z of many", 1_800_100);
        // Within the deadline there is none, or only the newest.
        check(hourly, "2026-01-02T10:00:00Z", Some(60), "2026-02-02T15:30:00Z", "nothing", 1_800_100);
        check(hourly, "2026-01-02T10:00:00Z", Some(3600), "2026-02-02T15:30:00Z", "2026-02-02T15:00:00Z", 1_800_100);
        check(
            "30 6-16/4 * * 1-5",
            "2026-01-02T14:30:00Z",
            None,
            "2026-01-05T06:30:00Z",
            "2026-01-05T06:30:00Z",
            14_400_100,
        );
        check("@every 5m", "2026-01-02T10:00:07Z", None, "2026-01-02T10:17:00Z", "2026-01-02T10:15:07Z", 187_100);
        let senseless = "time difference between two schedules is less than 1 second";
        check("59 23 31 2 *", "2026-01-02T10:00:00Z", None, "2026-01-02T11:00:00Z", senseless, 0);
    }
}
