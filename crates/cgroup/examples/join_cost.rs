//! What it costs on this host to make, join and remove a cgroup, hierarchy by hierarchy; the figures of
//! `docs/decisions/0006-cgroup-join.md`. As root, on a quiet machine:
//!
//!     cargo run --release -p onggi-cgroup --example join_cost

#![allow(clippy::print_stdout)]

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use onggi_cgroup::{Cgroup, Layout};
use onggi_oci::{DeviceRule, Pids, Resources};
use onggi_sys::clone::{Clone, Forked, clone3, exit_now};

const ROUNDS: usize = 12;
const IDLE: Duration = Duration::from_millis(500);

fn main() -> Result<(), Box<dyn Error>> {
    let layout = onggi_cgroup::detect()?;
    let (hierarchies, unified) = match layout {
        Layout::V1 { hierarchies, unified } => (hierarchies, unified),
        Layout::V2 { root, .. } => (Vec::new(), Some(root)),
    };
    let name = format!("onggi-join-cost-{}", std::process::id());
    let v1: Vec<(String, PathBuf)> =
        hierarchies.iter().map(|each| (each.controllers.join(","), each.root.join(&name))).collect();

    println!("| hierarchy | mkdir µs | rmdir µs |\n|---|---|---|");
    for (label, group) in
        v1.iter().cloned().chain(unified.iter().map(|root| ("(v2)".into(), root.join(&name))))
    {
        let (mut made, mut removed) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            made.push(timed(|| fs::create_dir(&group))?);
            removed.push(timed(|| fs::remove_dir(&group))?);
        }
        println!("| {label} | {} | {} |", median(&mut made), median(&mut removed));
    }

    whole_life(&name)?;
    for (_, group) in &v1 {
        fs::create_dir(group)?;
        fill_cpuset(group)?;
    }
    if let Some(root) = &unified {
        fs::create_dir(root.join(&name))?;
    }
    let result = joins(&v1, unified.as_deref(), &name);
    for (_, group) in &v1 {
        fs::remove_dir(group)?;
    }
    if let Some(root) = &unified {
        fs::remove_dir(root.join(&name))?;
    }
    result
}

/// A group as a container of the defaults has it: plan, create, remove.
fn whole_life(name: &str) -> Result<(), Box<dyn Error>> {
    let layout = onggi_cgroup::detect()?;
    let resources = Resources {
        devices: Some(vec![DeviceRule { allow: false, ..DeviceRule::default() }]),
        pids: Some(Pids { limit: Some(2048) }),
        ..Resources::default()
    };
    let path = format!("/{name}/leaf");
    for idle in [Duration::ZERO, IDLE] {
        let (mut planned, mut created, mut removed) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            std::thread::sleep(idle);
            let start = Instant::now();
            let plan = onggi_cgroup::plan(&layout, &path, &resources)?;
            planned.push(start.elapsed());
            let start = Instant::now();
            let cgroup = plan.create()?;
            created.push(start.elapsed());
            let start = Instant::now();
            cgroup.remove()?;
            removed.push(start.elapsed());
        }
        let (planned, created, removed) = (median(&mut planned), median(&mut created), median(&mut removed));
        println!(
            "\na container's group, after {idle:?}: plan {planned} µs, create {created}, remove {removed}"
        );
    }
    Cgroup::open(&layout, name)?.remove()?;
    Ok(())
}

fn joins(v1: &[(String, PathBuf)], unified: Option<&Path>, name: &str) -> Result<(), Box<dyn Error>> {
    let pid = std::process::id().to_string();
    for (label, file, value) in
        [("`0` to tasks", "tasks", "0"), ("pid to cgroup.procs", "cgroup.procs", pid.as_str())]
    {
        for idle in [Duration::ZERO, IDLE] {
            let mut each: Vec<Vec<Duration>> = vec![Vec::new(); v1.len()];
            let mut all = Vec::new();
            for _ in 0..ROUNDS {
                std::thread::sleep(idle);
                let start = Instant::now();
                for ((_, group), times) in v1.iter().zip(&mut each) {
                    times.push(timed(|| fs::write(group.join(file), value))?);
                }
                all.push(start.elapsed());
                for (_, group) in v1 {
                    fs::write(group.parent().ok_or("no parent")?.join(file), value)?;
                }
            }
            let each: Vec<String> = v1
                .iter()
                .zip(&mut each)
                .map(|((name, _), times)| format!("{name} {}", median(times)))
                .collect();
            println!(
                "\n{label}, after {idle:?}: all {} µs, worst {} µs; {}",
                median(&mut all),
                worst(&all),
                each.join(", ")
            );
        }
    }
    let Some(root) = unified else { return Ok(()) };
    let group = root.join(name);
    let directory = fs::File::open(&group)?;
    for idle in [Duration::ZERO, IDLE] {
        let (mut plain, mut into, mut written) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            std::thread::sleep(idle);
            plain.push(timed(|| child(&Clone::default()))?);
            std::thread::sleep(idle);
            into.push(timed(|| {
                child(&Clone { cgroup: Some(std::os::fd::AsFd::as_fd(&directory)), ..Clone::default() })
            })?);
            std::thread::sleep(idle);
            written.push(timed(|| fs::write(group.join("cgroup.procs"), "0"))?);
            fs::write(root.join("cgroup.procs"), "0")?;
        }
        println!(
            "\nv2, after {idle:?}: clone3 and wait {} µs (worst {}), into the cgroup {} (worst {}), `0` to cgroup.procs {} (worst {})",
            median(&mut plain),
            worst(&plain),
            median(&mut into),
            worst(&into),
            median(&mut written),
            worst(&written)
        );
    }
    Ok(())
}

fn child(options: &Clone<'_>) -> std::io::Result<()> {
    match clone3(options)? {
        Forked::Child => exit_now(0),
        Forked::Parent { pidfd, .. } => {
            let id = rustix::process::WaitId::PidFd(std::os::fd::AsFd::as_fd(&pidfd));
            rustix::process::waitid(id, rustix::process::WaitIdOptions::EXITED)?;
            Ok(())
        }
    }
}

fn fill_cpuset(group: &Path) -> std::io::Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if let Some(parent) = group.parent()
            && let Ok(value) = fs::read_to_string(parent.join(file))
        {
            fs::write(group.join(file), value)?;
        }
    }
    Ok(())
}

fn timed(act: impl FnOnce() -> std::io::Result<()>) -> std::io::Result<Duration> {
    let start = Instant::now();
    act()?;
    Ok(start.elapsed())
}

fn median(times: &mut [Duration]) -> u128 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(0, Duration::as_micros)
}

fn worst(times: &[Duration]) -> u128 {
    times.iter().max().map_or(0, Duration::as_micros)
}
