//! One run: servers up, terms checked, every row measured in turn, the table out.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use crate::application::Application;
use crate::client::{JSON, PROTOBUF};
use crate::kubeconfig::Access;
use crate::objects::Pods;
use crate::options::Options;
use crate::row::{Needs, Row};
use crate::rows::patch::Kind;
use crate::rows::{self, Settings};
use crate::sample::{self, Metric, Sample};
use crate::table::{self, Result};
use crate::target::{Server, Target};
use crate::{process, terms};

/// Watchers, and writes that they see.
const WATCHERS: usize = 1000;
const EVENTS: usize = 200;

/// A server settles for this long before it counts as idle: alone, and with everything.
const SETTLE: Duration = Duration::from_secs(5);
const SETTLE_ALL: Duration = Duration::from_secs(60);

/// How long idle processes are watched: the API server alone, and everything.
const IDLE_ALONE: Duration = Duration::from_secs(20);
const IDLE_ALL: Duration = Duration::from_secs(60);

/// Measures, prints and writes; returns the floors that do not hold.
pub async fn run(options: &Options) -> anyhow::Result<Vec<String>> {
    let settings = Settings {
        warm_up: Duration::from_secs(1),
        measured: Duration::from_secs(options.seconds),
        seeded: options.pods,
        many: options.many,
        watchers: WATCHERS,
        events: EVENTS,
        pods: Arc::new(Pods::new(options.seed)),
        small: Arc::new(Pods::small(options.seed)),
    };
    let program = options.program.as_path();
    let rows: Vec<_> = Row::ALL.into_iter().filter(|row| wanted(options, *row)).collect();
    let mut results = Vec::new();
    for row in of(&rows, &[Needs::Nothing]) {
        let load = process::load();
        if let Some(ours) = without_server(row, options, program, &settings).await? {
            results.push(announce(Result { row, ours, other: None, load, failure: None }));
        }
    }
    for needs in [&[Needs::Server, Needs::Pods][..], &[Needs::ManyPods]] {
        let rows = of(&rows, needs);
        if !rows.is_empty() {
            results.extend(with_servers(options, program, &settings, &rows).await?);
        }
    }
    results.sort_by_key(|result| Row::ALL.iter().position(|row| *row == result.row));
    let table = table::render(&results, options.kubeconfig.is_some().then_some("other server"));
    eprintln!("\n{table}");
    if let Some(path) = &options.write {
        table::write_into(path, &table)?;
    }
    Ok(results.iter().flat_map(|result| result.broken(process::cpus())).collect())
}

fn wanted(options: &Options, row: Row) -> bool {
    options.rows.is_empty() || options.rows.iter().any(|number| row.number().split(", ").any(|own| own == number))
}

/// Those of the rows that need such a server.
fn of(rows: &[Row], needs: &[Needs]) -> Vec<Row> {
    rows.iter().copied().filter(|row| needs.contains(&row.needs())).collect()
}

fn announce(result: Result) -> Result {
    let shown = result.ours.iter().map(|(metric, value)| format!("{metric} {}", metric.show(*value)));
    eprintln!("row {}: {}", result.row.number(), shown.collect::<Vec<_>>().join(", "));
    result
}

/// Rows that start what they measure. `None` for one that cannot be measured with these options.
async fn without_server(
    row: Row,
    options: &Options,
    program: &Path,
    settings: &Settings,
) -> anyhow::Result<Option<Sample>> {
    Ok(match row {
        Row::Boot => Some(rows::boot::measure(program).await?),
        Row::Idle => {
            let server = Server::start(program).await?;
            tokio::time::sleep(SETTLE).await;
            Some(rows::idle::measure(&[server.pid()], IDLE_ALONE).await?)
        }
        Row::Application => match options.images.as_ref().zip(options.manifest.as_ref()) {
            Some((images, manifest)) => {
                let application = Application::start(program, images, manifest)?;
                tokio::time::sleep(SETTLE_ALL).await;
                Some(rows::idle::measure(&application.pids()?, IDLE_ALL).await?)
            }
            None => None,
        },
        Row::Size => {
            let length = std::fs::metadata(program).with_context(|| format!("no {}", program.display()))?.len();
            Some(Sample::from([(Metric::Bytes, length as f64)]))
        }
        Row::StoreOne => Some(rows::store::measure(1, settings).await?),
        Row::StoreMany => Some(rows::store::measure(1000, settings).await?),
        _ => None,
    })
}

/// Rows that are requests: ours and the other server in turn.
async fn with_servers(
    options: &Options,
    program: &Path,
    settings: &Settings,
    rows: &[Row],
) -> anyhow::Result<Vec<Result>> {
    let server = Server::start(program).await?;
    let mut targets = vec![server.target().await?];
    if let Some(path) = &options.kubeconfig {
        let access = Access::read(path, options.server.as_deref())?;
        targets.push(Target::existing("the other server", &access, options.server_pids.clone()).await?);
    }
    let measured = measure_all(&targets, options, settings, rows).await;
    let mut measured = measured.inspect_err(|_| eprintln!("the server's log ends with:\n{}", server.log()))?;
    eprintln!("peak memory of the API server: {:.1} MB", process::peak_rss(&[server.pid()])? as f64 / 1e6);
    if rows.contains(&Row::Restart) {
        let load = process::load();
        let (ours, failure) = match rows::restart::measure(program, server, settings).await {
            Ok(ours) => (ours, None),
            Err(error) => (Sample::new(), Some(format!("{error:#}"))),
        };
        measured.push(announce(Result { row: Row::Restart, ours, other: None, load, failure }));
    }
    Ok(measured)
}

async fn measure_all(
    targets: &[Target],
    options: &Options,
    settings: &Settings,
    rows: &[Row],
) -> anyhow::Result<Vec<Result>> {
    for target in targets {
        rows::prepare(target).await?;
        terms::check(target, &settings.pods).await?;
    }
    let rounds = if targets.len() > 1 { options.rounds } else { 1 };
    let (mut results, mut there) = (Vec::new(), Needs::Server);
    let mut order = rows.iter().copied().filter(|row| *row != Row::Restart).collect::<Vec<_>>();
    // What a watcher adds to the server cannot be seen once other rows have left it memory to use again.
    order.sort_by_key(|row| *row != Row::Storm);
    for row in order {
        seed(targets, settings, row.needs(), &mut there).await?;
        results.push(announce(in_turn(row, targets, rounds, settings).await));
    }
    if rows.contains(&Row::Restart) {
        seed(targets, settings, Needs::ManyPods, &mut there).await?;
    }
    for target in targets.iter().skip(1) {
        rows::empty(&mut target.endpoint.connect().await?).await?;
    }
    Ok(results)
}

/// Writes the pods that a row needs, unless they are there.
async fn seed(targets: &[Target], settings: &Settings, needs: Needs, there: &mut Needs) -> anyhow::Result<()> {
    let (pods, count) = match needs {
        Needs::Pods => (&settings.pods, settings.seeded),
        Needs::ManyPods => (&settings.small, settings.many),
        Needs::Nothing | Needs::Server => return Ok(()),
    };
    if *there != needs {
        for target in targets {
            rows::seed(target, pods, count).await?;
        }
        *there = needs;
    }
    Ok(())
}

/// One row on every server, several times. A failure is a result too: the other rows are still worth knowing.
async fn in_turn(row: Row, targets: &[Target], rounds: usize, settings: &Settings) -> Result {
    let (load, mut failure) = (process::load(), None);
    let mut samples = vec![Vec::new(); targets.len()];
    'rounds: for _ in 0..rounds {
        for (target, samples) in targets.iter().zip(&mut samples) {
            match measure(row, target, settings).await {
                Ok(sample) => samples.push(sample),
                Err(error) => {
                    failure = Some(format!("on {}: {error:#}", target.name));
                    break 'rounds;
                }
            }
        }
    }
    let other = samples.get(1).map(|others| (sample::medians(others), ratios(row, &samples[0], others)));
    Result { row, ours: sample::medians(&samples[0]), other, load, failure }
}

async fn measure(row: Row, target: &Target, settings: &Settings) -> anyhow::Result<Sample> {
    match row {
        Row::CreateOne => rows::create::measure(target, 1, settings).await,
        Row::CreateMany => rows::create::measure(target, 64, settings).await,
        Row::Patch => rows::patch::measure(target, Kind::Merge, 64, settings).await,
        Row::Apply => rows::patch::measure(target, Kind::Apply, 64, settings).await,
        Row::Get => rows::get::measure(target, 16, settings).await,
        Row::Lease => rows::lease::measure(target, 1000, settings).await,
        Row::ListJson => rows::list::measure(target, JSON, settings).await,
        Row::ListProtobuf => rows::list::measure(target, PROTOBUF, settings).await,
        Row::Crowd => rows::crowd::measure(target, settings).await,
        Row::Memory => Ok(Sample::from([(Metric::Bytes, process::pss(&target.pids)? as f64)])),
        Row::Storm => rows::storm::measure(target).await,
        Row::Fanout => rows::fanout::measure(target, settings).await,
        _ => Ok(Sample::new()),
    }
}

/// How many times better we were, pair by pair: in rate if the row has one, else in the median's time.
fn ratios(row: Row, ours: &[Sample], others: &[Sample]) -> [f64; 3] {
    let by_rate = row.metrics().contains(&Metric::Rate);
    let pairs = ours.iter().zip(others).filter_map(|(ours, other)| {
        let metric = if by_rate { Metric::Rate } else { Metric::P50 };
        let (ours, other) = (ours.get(&metric)?, other.get(&metric)?);
        Some(if by_rate { ours / other } else { other / ours })
    });
    let pairs: Vec<f64> = pairs.collect();
    let least = pairs.iter().copied().fold(f64::INFINITY, f64::min);
    let most = pairs.iter().copied().fold(0.0, f64::max);
    [least, sample::median(pairs).unwrap_or(f64::NAN), most]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_above_one_when_we_are_better() {
        let sample = |rate, p50| Sample::from([(Metric::Rate, rate), (Metric::P50, p50)]);
        let (ours, others) = ([sample(10.0, 1.0), sample(30.0, 1.0)], [sample(5.0, 4.0), sample(10.0, 2.0)]);
        assert_eq!(ratios(Row::Get, &ours, &others), [2.0, 2.5, 3.0]);
        assert_eq!(ratios(Row::ListJson, &ours, &others), [2.0, 3.0, 4.0]);
    }
}
