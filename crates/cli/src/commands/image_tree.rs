//! `onggi image tree`: the layers of an image, and which other images stand on them.
//!
//! Podman's form. Layers are shown from the lowest; an image's name stands at its topmost layer.

use clap::ArgMatches;
use onggi_image::{Digest, Reference};
use onggi_store::ImageSummary;

use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, argument, is, switch, text};
use crate::output::human;

pub(crate) const COMMAND: Command = Command {
    names: &["image tree"],
    group: Group::Images,
    about: "Show the layers of an image, and the images that share them",
    build,
    run,
    failure: 1,
    examples: &[
        ("image tree nginx", "From the lowest layer to the top"),
        ("image tree --whatrequires debian", "The images that are built on it"),
    ],
};

fn build() -> clap::Command {
    flags::command("onggi image tree [OPTIONS] IMAGE")
        .arg(switch("whatrequires", None, "The images that have all its layers, in place of its layers"))
        .arg(argument("image", "IMAGE", "Name or id"))
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    let store = context.store()?;
    let image = store.resolve(text(matches, "image").unwrap_or_default())?;
    let images = store.images()?;
    let mut lines = vec![
        format!("Image ID: {}", image.id.short()),
        format!("Tags:     [{}]", familiar(&store.names(&image.id)?)),
        format!("Size:     {}", human::size(image.size, 3)),
    ];
    if is(matches, "whatrequires") {
        lines.push("Images that have its layers".to_owned());
        lines.extend(branches(&standing_on(&image.id, &image.layers, &images)));
    } else {
        lines.push("Image Layers".to_owned());
        lines.extend(branches(&layers(&image.layers, &store.layer_sizes(&image)?, &images)));
    }
    context.line(&lines.join("\n"))?;
    Ok(0)
}

/// A line for each layer; at the topmost of an image its names.
fn layers(layers: &[Digest], sizes: &[u64], images: &[ImageSummary]) -> Vec<String> {
    let line = |(number, (layer, size)): (usize, (&Digest, &u64))| {
        let tops = images.iter().filter(|image| image.layers[..] == layers[..=number]);
        let names: Vec<String> = tops.map(shown).collect();
        let top =
            if names.is_empty() { String::new() } else { format!(" Top Layer of: [{}]", names.join(" ")) };
        format!("ID: {} Size: {:>7}{top}", layer.short(), human::size(*size, 3))
    };
    layers.iter().zip(sizes).enumerate().map(line).collect()
}

/// The images that begin with these layers and are not this one.
fn standing_on(id: &Digest, layers: &[Digest], images: &[ImageSummary]) -> Vec<String> {
    let upon = images.iter().filter(|image| image.id != *id && image.layers.starts_with(layers));
    let line = |image: &ImageSummary| {
        let above = match image.layers.len() - layers.len() {
            1 => "1 layer".to_owned(),
            more => format!("{more} layers"),
        };
        format!("ID: {} {above} above: [{}]", image.id.short(), shown(image))
    };
    upon.map(line).collect()
}

fn shown(image: &ImageSummary) -> String {
    if image.names.is_empty() { "<none>".to_owned() } else { familiar(&image.names) }
}

fn familiar(names: &[Reference]) -> String {
    names.iter().map(Reference::familiar).collect::<Vec<_>>().join(" ")
}

fn branches(lines: &[String]) -> Vec<String> {
    let last = lines.len().saturating_sub(1);
    let branch =
        |(number, line): (usize, &String)| format!("{} {line}", if number == last { "└──" } else { "├──" });
    lines.iter().enumerate().map(branch).collect()
}
