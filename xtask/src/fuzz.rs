//! `cargo xtask fuzz`: libFuzzer on every decoder of `tests/fuzz`, beginning with the corpora there.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail, ensure};
use clap::Args;

/// Coverage counters, as libFuzzer reads them. They are options of stable compilers.
const COUNTERS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing";

/// Memory that an input may cost, in MiB, the fuzzer's own included.
const MEMORY_MIB: u32 = 512;

/// Wall time after which an input counts as a hang, in seconds. Processor time is bounded by the decoders' own check.
const HANG_SECONDS: u32 = 60;

/// Lines of a log that are shown from where it tells of a fault.
const SHOWN: usize = 4;

#[derive(Args)]
pub(crate) struct Fuzz {
    /// How long each decoder is tried.
    #[arg(long, default_value_t = 600)]
    seconds: u32,
    /// Decoders to try; all by default.
    #[arg(long, value_delimiter = ',')]
    decoders: Vec<String>,
    /// How many are tried at once; as many as there are processors by default.
    #[arg(long)]
    jobs: Option<usize>,
    /// Put what was found worth keeping into the corpora, as few inputs as cover the same.
    #[arg(long)]
    keep: bool,
}

struct Place {
    program: PathBuf,
    corpora: PathBuf,
    scratch: PathBuf,
}

/// Builds and runs; fails if an input broke something, and says where it is.
pub(crate) fn run(root: &Path, options: &Fuzz) -> anyhow::Result<()> {
    let place = build(root)?;
    let mut names = decoders(&place.corpora)?;
    for name in &options.decoders {
        ensure!(names.contains(name), "there is no decoder {name}; there are {}", names.join(", "));
    }
    names.retain(|name| options.decoders.is_empty() || options.decoders.contains(name));
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let mut broken = Vec::new();
    for some in names.chunks(options.jobs.unwrap_or(processors).max(1)) {
        let running = some.iter().map(|name| Ok((name, start(&place, name, options.seconds)?)));
        for (name, mut process) in running.collect::<anyhow::Result<Vec<(&String, Child)>>>()? {
            let status = process.wait()?;
            println!("{name}: {}", summary(&place, name));
            if !status.success() {
                broken.push(name.clone());
            }
        }
    }
    for name in &broken {
        let log = std::fs::read_to_string(place.scratch.join(format!("{name}.log"))).unwrap_or_default();
        let told = |line: &&str| line.contains("panicked") || line.contains("ERROR") || line.contains("Test unit");
        let lines: Vec<_> = log.lines().collect();
        println!("--- {name}");
        for (at, _) in lines.iter().enumerate().filter(|(_, line)| told(line)) {
            println!("{}", lines[at..lines.len().min(at + SHOWN)].join("\n"));
        }
    }
    if !broken.is_empty() {
        bail!("inputs broke {}; they are in {}", broken.join(", "), place.scratch.display());
    }
    if options.keep {
        names.iter().try_for_each(|name| keep(&place, name))?;
    }
    Ok(())
}

/// The decoders are those with a corpus; the program knows them by the same names.
fn decoders(corpora: &Path) -> anyhow::Result<Vec<String>> {
    let folders = std::fs::read_dir(corpora).with_context(|| format!("cannot read {}", corpora.display()))?;
    let mut names: Vec<_> = folders.flatten().map(|folder| folder.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}

fn build(root: &Path) -> anyhow::Result<Place> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |folder| root.join(folder));
    // A folder of its own: every crate is compiled otherwise than for other purposes.
    let target = target.join("fuzz");
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // With a target named, build scripts and macros are left alone.
    let status = Command::new(cargo)
        .current_dir(root)
        .args([
            "build",
            "--quiet",
            "--locked",
            "--profile",
            "fuzz",
            "--package",
            "skiff-fuzz",
            "--features",
            "libfuzzer",
        ])
        .args(["--target", &triple, "--target-dir"])
        .arg(&target)
        .env("RUSTFLAGS", COUNTERS)
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "the fuzzer does not build");
    let scratch = target.join("found");
    std::fs::create_dir_all(&scratch)?;
    Ok(Place { program: target.join(triple).join("fuzz/skiff-fuzz"), corpora: root.join("tests/fuzz/corpus"), scratch })
}

fn start(place: &Place, name: &str, seconds: u32) -> anyhow::Result<Child> {
    let found = place.scratch.join(name);
    std::fs::create_dir_all(&found)?;
    let log = std::fs::File::create(place.scratch.join(format!("{name}.log")))?;
    Command::new(&place.program)
        .env("SKIFF_FUZZ", name)
        .args([&found, &place.corpora.join(name)])
        .arg(format!("-artifact_prefix={}/{name}-", place.scratch.display()))
        .args([format!("-max_total_time={seconds}"), format!("-timeout={HANG_SECONDS}")])
        .args([format!("-rss_limit_mb={MEMORY_MIB}"), format!("-malloc_limit_mb={MEMORY_MIB}")])
        .args(["-max_len=65536", "-print_final_stats=1"])
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("cannot run {}", place.program.display()))
}

/// The fuzzer's own figures.
fn summary(place: &Place, name: &str) -> String {
    let log = std::fs::read_to_string(place.scratch.join(format!("{name}.log"))).unwrap_or_default();
    let figure = |key: &str| {
        let line = log.lines().rev().find_map(|line| line.strip_prefix(&format!("stat::{key}:")));
        line.unwrap_or("?").trim().to_owned()
    };
    format!(
        "{} inputs tried, {} new ones found, {} MiB at most",
        figure("number_of_executed_units"),
        figure("new_units_added"),
        figure("peak_rss_mb")
    )
}

/// Leaves in the corpus as few inputs as cover what it and the found ones cover.
fn keep(place: &Place, name: &str) -> anyhow::Result<()> {
    let (corpus, found) = (place.corpora.join(name), place.scratch.join(name));
    let merged = Command::new(&place.program)
        .env("SKIFF_FUZZ", name)
        .arg("-merge=1")
        .args([&corpus, &found])
        .stderr(Stdio::null())
        .status()?;
    ensure!(merged.success(), "cannot merge what was found for {name}");
    Ok(())
}
