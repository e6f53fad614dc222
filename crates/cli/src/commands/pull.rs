//! `onggi pull`: images from registries; and the pull that `run` and `create` do for an image that is not here.

use std::sync::Arc;

use clap::ArgMatches;
use onggi_engine::request::{Pull, RunRequest};
use onggi_engine::{Engine, Error, TransferWatch};
use onggi_error::{Diagnose as _, Kind};
use onggi_image::{Digest, Platform, Reference};
use serde_json::json;

use super::pruning::keep_budget;
use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::progress::{self, Form};
use crate::flags::{self, argument, is, parsed, switch, text, value};
use crate::output::messages;
use crate::transfer::{Stdout, Transfer, Way};

pub(crate) const COMMAND: Command = Command {
    names: &["pull", "image pull"],
    group: Group::Images,
    about: "Bring an image from a registry",
    build,
    run,
    failure: 1,
    examples: &[
        ("pull debian", "docker.io/library/debian:latest"),
        ("pull localhost:5000/team/app:1.2", "From another registry"),
        ("pull debian@sha256:…", "Exactly this one, whatever the tag says today"),
        ("pull --platform linux/arm64 debian", "For another machine"),
        ("pull --progress json debian", "For a program that shows how far it is"),
    ],
};

fn build() -> clap::Command {
    flags::command("onggi pull [OPTIONS] NAME[:TAG|@DIGEST]")
        .arg(switch("all-tags", Some('a'), "Every tag of the repository"))
        .arg(value("platform", None, "OS/ARCH", "For this machine in place of the host's"))
        .args(progress::flags("Only the image's name at the end"))
        .arg(argument("name", "NAME[:TAG|@DIGEST]", "The image, by its name at its registry"))
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    let typed = text(matches, "name").unwrap_or_default();
    let platform = parsed(matches, "platform", str::parse::<Platform>)?;
    let (all, form) = (is(matches, "all-tags"), progress::form(matches)?);
    let bare = reference(Reference::parse_bare(typed))?;
    let tagless = bare.tag().is_none() && bare.digest().is_none();
    if all && !tagless {
        return Err(CliError::invalid("tag can't be used with --all-tags/-a"));
    }
    // First of all, so that an early Ctrl-C cuts nothing short.
    let transfer = Transfer::begin(Way::Pull, form, Stdout::Ours)?;
    let engine = context.engine()?;
    if all {
        let watch = Arc::clone(&transfer) as Arc<dyn TransferWatch>;
        let pulled = engine.remote_tags(&bare, watch).and_then(|tags| {
            let (mut came, mut failed) = (Vec::new(), Vec::new());
            for tag in &tags {
                let name = format!("{bare}:{tag}");
                let pulled = match Reference::parse(&name) {
                    Ok(name) => pull(engine, &name, platform.as_ref(), &transfer),
                    Err(error) => {
                        transfer.line(&format!("the tag {tag} is left out: {error}"));
                        continue;
                    }
                };
                match pulled {
                    Ok(id) => came.push(id),
                    // What is wrong with this image alone; where the registry or the disk is at fault the next would fail as well.
                    Err(error)
                        if matches!(error.kind(), Kind::NotFound | Kind::Corrupt | Kind::Unsupported) =>
                    {
                        transfer.warn(&error.to_string());
                        failed.push(tag.clone());
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok((came, failed, tags.len()))
        });
        let (came, failed, all) = transfer.end(pulled)?;
        keep_budget(context, engine, &came)?;
        if !failed.is_empty() {
            let (count, failed) = (failed.len(), failed.join(", "));
            let text = format!("{count} of the {all} tags of {bare} could not be pulled: {failed}");
            return transfer.end_of(Err(CliError::invalid(text)));
        }
        if form != Form::Json {
            context.line(&bare.to_string())?;
        }
        return Ok(0);
    }
    if tagless {
        transfer.line("Using default tag: latest");
    }
    let name = reference(Reference::parse(typed))?;
    let pulled = pull(engine, &name, platform.as_ref(), &transfer);
    keep_budget(context, engine, &[transfer.end(pulled)?])?;
    if form != Form::Json {
        context.line(&name.to_string())?;
    }
    Ok(0)
}

/// Makes a container by `make`, pulling its image before or after as the request says: an image that is here costs nothing more.
pub(crate) fn with_image<T>(
    context: &Context,
    request: &RunRequest,
    quiet: bool,
    make: impl Fn(&Engine) -> Result<T, Error>,
) -> Result<T, CliError> {
    let engine = context.engine()?;
    if request.pull != Pull::Always {
        match make(engine) {
            Err(Error::NoSuchImage { image }) if request.pull == Pull::Missing => {
                context.complain(&format!("Unable to find image '{image}' locally\n"));
                if let Some(hint) = crate::error::other_store() {
                    context.complain(&format!("hint: {hint}\n"));
                }
            }
            // Here is one for another machine, and the registry may have the one that was asked for.
            Err(Error::OtherPlatform { .. }) if request.pull == Pull::Missing => {}
            other => return Ok(other?),
        }
    }
    let name = reference(Reference::parse(&request.image))?;
    let platform = request.platform.as_deref().filter(|text| !text.is_empty());
    let platform = platform.map(str::parse::<Platform>).transpose();
    let platform = platform.map_err(|problem| CliError::flag("platform", problem))?;
    let form = if quiet { Form::Quiet } else { Form::Auto };
    let transfer = Transfer::begin(Way::Pull, form, Stdout::Others)?;
    let pulled = pull(engine, &name, platform.as_ref(), &transfer);
    keep_budget(context, engine, &[transfer.end(pulled)?])?;
    Ok(make(engine)?)
}

fn pull(
    engine: &Engine,
    name: &Reference,
    platform: Option<&Platform>,
    transfer: &Arc<Transfer>,
) -> Result<Digest, Error> {
    let which = match (name.digest(), name.tag()) {
        (Some(_), _) => name.to_string(),
        (None, tag) => tag.unwrap_or_default().to_owned(),
    };
    transfer.line(&format!("{which}: Pulling from {}", name.path()));
    let watch = Arc::clone(transfer) as Arc<dyn TransferWatch>;
    let pulled = engine.pull(name, platform, watch)?;
    transfer.settle();
    transfer.line(&format!("Digest: {}", pulled.digest));
    let status = if pulled.up_to_date { "Image is up to date for" } else { "Downloaded newer image for" };
    transfer.line(&format!("Status: {status} {}", name.familiar()));
    transfer.object(|| {
        let id = pulled.id.to_string();
        messages::result(&json!({ "Name": name.to_string(), "ID": id, "Digest": pulled.digest.to_string() }))
    });
    Ok(pulled.id)
}

/// A name in Docker's words if it is none.
pub(crate) fn reference(parsed: Result<Reference, onggi_image::Error>) -> Result<Reference, CliError> {
    Ok(parsed?)
}
