//! `onggi system df`: what is kept on disk, and how much of it nobody uses.
//!
//! Docker's fields and tables. Sizes are what the disk gives for it, so that what `prune` reclaims is what is shown here; logs and records count
//! with their container. There is no row for a build cache, since there is none.

use clap::ArgMatches;
use jiff::Timestamp;
use onggi_engine::{ContainerUsage, DiskUsage, ImageUsage, VolumeUsage};
use onggi_image::Reference;
use serde_json::{Map, Value, json};

use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, is, switch, text};
use crate::output::human;
use crate::output::list::{self, Row, format_flag};
use crate::output::plain;

pub(crate) const COMMAND: Command = Command {
    names: &["system df"],
    group: Group::Host,
    about: "Show what images, containers and volumes take on disk",
    build,
    run,
    failure: 1,
    examples: &[
        ("system df", "A line for each kind"),
        ("system df -v", "A line for each thing"),
        ("system df --format '{{.Type}} {{.Reclaimable}}'", "For a script"),
    ],
};

fn build() -> clap::Command {
    flags::command("onggi system df [OPTIONS]")
        .arg(format_flag().help("Print with a Go template: '{{.Type}}', 'table {{.Type}}', json"))
        .arg(switch("verbose", Some('v'), "A line for each image, container and volume"))
}

const TABLE: &str = "table {{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}";
const IMAGES: &str = "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}";
const CONTAINERS: &str = "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}";
const VOLUMES: &str = "table {{.Name}}\t{{.Links}}\t{{.Size}}";

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    let usage = context.engine()?.disk_usage()?;
    let format = text(matches, "format").filter(|format| !format.is_empty());
    if !is(matches, "verbose") {
        let titles = [("TotalCount", "TOTAL")];
        context.print(&list::render(&summary(&usage), format, TABLE, &titles)?)?;
        if format.is_none_or(|format| format == "table") {
            tell_rest(context, &usage)?;
        }
        return Ok(0);
    }
    let now = Timestamp::now();
    let images: Vec<Row> = usage.images.iter().flat_map(|image| image_rows(image, now)).collect();
    let containers: Vec<Row> = usage.containers.iter().map(|used| container_row(used, now)).collect();
    let volumes: Vec<Row> = usage.volumes.iter().map(volume_row).collect();
    if let Some(format) = format.filter(|format| *format != "table") {
        let values =
            |rows: Vec<Row>| rows.into_iter().map(|row| Value::Object(row.fields)).collect::<Vec<_>>();
        let all =
            json!({"Images": values(images), "Containers": values(containers), "Volumes": values(volumes)});
        context.line(&list::render_one(format, &all, true)?)?;
        return Ok(0);
    }
    for (what, rows, table, titles) in [
        ("Images", &images, IMAGES, [("ID", "IMAGE ID")]),
        ("Containers", &containers, CONTAINERS, [("ID", "CONTAINER ID")]),
        ("Local Volumes", &volumes, VOLUMES, [("Name", "VOLUME NAME")]),
    ] {
        context.print(&format!("{what} space usage:\n\n{}\n", list::render(rows, None, table, &titles)?))?;
    }
    tell_rest(context, &usage)?;
    Ok(0)
}

/// What is no image, container or volume any more, or not yet.
fn tell_rest(context: &Context, usage: &DiskUsage) -> Result<(), CliError> {
    for (what, bytes) in [
        ("Set aside by `system check --repair`, in lost/", usage.lost_bytes),
        ("In the making, or left by commands that were cut short", usage.leftover_bytes),
    ] {
        if bytes > 1 << 16 {
            context.line(&format!("{what}: {}", human::size(bytes, 3)))?;
        }
    }
    Ok(())
}

fn summary(usage: &DiskUsage) -> Vec<Row> {
    let running = |used: &&ContainerUsage| used.container.state.is_live();
    let written: u64 = usage.containers.iter().map(|used| used.bytes).sum();
    let by_running: u64 = usage.containers.iter().filter(running).map(|used| used.bytes).sum();
    let in_volumes: u64 = usage.volumes.iter().map(|used| used.bytes).sum();
    let unused: u64 = usage.volumes.iter().filter(|used| used.links == 0).map(|used| used.bytes).sum();
    let active_images = usage.images.iter().filter(|image| image.containers > 0).count();
    let active_volumes = usage.volumes.iter().filter(|used| used.links > 0).count();
    vec![
        kind("Images", usage.images.len(), active_images, usage.image_bytes, usage.image_reclaimable),
        kind(
            "Containers",
            usage.containers.len(),
            usage.containers.iter().filter(running).count(),
            written,
            written - by_running,
        ),
        kind("Local Volumes", usage.volumes.len(), active_volumes, in_volumes, unused),
    ]
}

fn kind(name: &str, total: usize, active: usize, bytes: u64, reclaimable: u64) -> Row {
    let share = (reclaimable * 100).checked_div(bytes).map(|percent| format!(" ({percent}%)"));
    row(json!({
        "Active": active.to_string(),
        "Reclaimable": format!("{}{}", human::size(reclaimable, 4), share.unwrap_or_default()),
        "Size": human::size(bytes, 4),
        "TotalCount": total.to_string(),
        "Type": name,
    }))
}

fn image_rows(used: &ImageUsage, now: Timestamp) -> Vec<Row> {
    let created = human::timestamp(&used.image.created);
    let fields = |name: Option<&Reference>| {
        row(json!({
            "Containers": used.containers.to_string(),
            "CreatedAt": human::created_at(created),
            "CreatedSince": human::ago(created, now),
            "Digest": name.map_or(&used.image.digest, |name| used.image.digest_of(name)).to_string(),
            "ID": used.image.id.short(),
            "Repository": name.map_or("<none>".to_owned(), Reference::familiar_repository),
            "SharedSize": human::size(used.shared, 4),
            "Size": human::size(used.shared + used.unique, 4),
            "Tag": name.and_then(Reference::tag).unwrap_or("<none>"),
            "UniqueSize": human::size(used.unique, 4),
        }))
    };
    match used.image.names.as_slice() {
        [] => vec![fields(None)],
        names => names.iter().map(|name| fields(Some(name))).collect(),
    }
}

fn container_row(used: &ContainerUsage, now: Timestamp) -> Row {
    let container = &used.container;
    let created = human::timestamp(&container.created);
    let volumes = container.mounts.iter().filter(|name| !name.starts_with('/')).count();
    row(json!({
        "Command": plain::quoted(&human::shorten(&container.command, 20)),
        "CreatedAt": human::created_at(created),
        "ID": container.id.short(),
        "Image": container.image,
        "LocalVolumes": volumes.to_string(),
        "Names": container.name,
        "RunningFor": human::ago(created, now),
        "Size": human::size(used.bytes, 3),
        "State": container.state.name(),
        "Status": container.status,
    }))
}

fn volume_row(used: &VolumeUsage) -> Row {
    row(json!({
        "Driver": used.volume.driver,
        "Links": used.links.to_string(),
        "Mountpoint": used.volume.mountpoint,
        "Name": used.volume.name,
        "Size": human::size(used.bytes, 4),
    }))
}

fn row(fields: Value) -> Row {
    let fields = if let Value::Object(fields) = fields { fields } else { Map::new() };
    Row { fields, labels: Default::default() }
}
