//! `onggi push`: images to registries.

use std::sync::Arc;

use clap::ArgMatches;
use onggi_engine::{Engine, Error, TransferWatch};
use onggi_image::Reference;
use serde_json::json;

use super::pull::reference;
use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::progress::{self, Form};
use crate::flags::{self, argument, is, switch, text};
use crate::output::messages;
use crate::transfer::{Stdout, Transfer, Way};

pub(crate) const COMMAND: Command = Command {
    names: &["push", "image push"],
    group: Group::Images,
    about: "Give an image to a registry",
    build,
    run,
    failure: 1,
    examples: &[
        ("tag app localhost:5000/team/app:1.2", "The name says where to"),
        ("push localhost:5000/team/app:1.2", "… and this brings it there"),
    ],
};

fn build() -> clap::Command {
    flags::command("onggi push [OPTIONS] NAME[:TAG]")
        .arg(switch("all-tags", Some('a'), "Every tag that the repository has here"))
        .args(progress::flags("Only the image's name at the end"))
        .arg(argument("name", "NAME[:TAG]", "The image, by the name that it is to have at its registry"))
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    let typed = text(matches, "name").unwrap_or_default();
    let bare = reference(Reference::parse_bare(typed))?;
    let all = is(matches, "all-tags");
    let tagless = bare.tag().is_none() && bare.digest().is_none();
    if all && !tagless {
        return Err(CliError::invalid("tag can't be used with --all-tags/-a"));
    }
    let form = progress::form(matches)?;
    let transfer = Transfer::begin(Way::Push, form, Stdout::Ours)?;
    let engine = context.engine()?;
    let names = if all {
        let images = context.store()?.images()?.into_iter().flat_map(|image| image.names);
        let names: Vec<_> =
            images.filter(|name| name.same_repository(&bare) && name.tag().is_some()).collect();
        if names.is_empty() {
            return Err(CliError::not_found(format!(
                "An image does not exist locally with the tag: {}",
                bare.familiar_repository()
            )));
        }
        names
    } else {
        if tagless {
            transfer.line("Using default tag: latest");
        }
        vec![reference(Reference::parse(typed))?]
    };
    transfer.line(&format!("The push refers to repository [{}/{}]", bare.domain(), bare.path()));
    let pushed = names.iter().try_for_each(|name| push(engine, name, &transfer));
    transfer.end(pushed)?;
    if form == Form::Quiet {
        names.iter().try_for_each(|name| context.line(&name.to_string()))?;
    }
    Ok(0)
}

fn push(engine: &Engine, name: &Reference, transfer: &Arc<Transfer>) -> Result<(), Error> {
    let pushed = engine.push(name, Arc::clone(transfer) as Arc<dyn TransferWatch>)?;
    transfer.settle();
    if let Some(why) = pushed.changed {
        transfer.line(&format!("The digest is another than before: {why}"));
    }
    let tag = name.tag().unwrap_or_default();
    transfer.line(&format!("{tag}: digest: {} size: {}", pushed.digest, pushed.size));
    transfer.object(|| {
        messages::result(&json!({ "Tag": tag, "Digest": pushed.digest.to_string(), "Size": pushed.size }))
    });
    Ok(())
}
