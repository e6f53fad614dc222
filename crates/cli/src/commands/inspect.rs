//! `onggi inspect`: everything about containers, images and volumes, in Docker's JSON.

use clap::ArgMatches;
use onggi_engine::request::ListOptions;
use serde_json::{Value, json};

use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, arguments, is, switch, text, texts, value};
use crate::output::image;
use crate::output::list::render_one;

pub(crate) const COMMAND: Command = Command {
    names: &["inspect"],
    group: Group::Look,
    about: "Show everything about containers, images and volumes",
    build,
    run: |context, matches| inspect(context, matches, parse_kind(matches)?),
    failure: 1,
    examples: &[
        ("inspect web", "All of it, as JSON"),
        ("inspect -f '{{.State.OOMKilled}}' web", "One thing of it, by a Go template"),
        ("inspect --oci web", "The OCI configuration that it is started from"),
    ],
};

pub(crate) const CONTAINER: Command = Command {
    names: &["container inspect"],
    about: "Show everything about containers",
    group: Group::Hidden,
    run: |context, matches| inspect(context, matches, Some(Kind::Container)),
    ..COMMAND
};

pub(crate) const IMAGE: Command = Command {
    names: &["image inspect"],
    about: "Show everything about images",
    group: Group::Hidden,
    build: || build().arg(switch("layers", None, "With each layer: what made it, its sizes, who shares it")),
    run: |context, matches| inspect(context, matches, Some(Kind::Image)),
    examples: &[
        ("image inspect -f '{{json .Config.Env}}' debian", "The variables that it sets"),
        ("image inspect --layers -f '{{json .Layers}}' debian", "Each of its layers"),
    ],
    ..COMMAND
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Container,
    Image,
    Volume,
}

fn build() -> clap::Command {
    flags::command("onggi inspect [OPTIONS] NAME...")
        .arg(value("format", Some('f'), "TEMPLATE", "Print with a Go template: '{{.Id}}', '{{json .}}'"))
        .arg(switch("size", Some('s'), "With the sizes of containers"))
        .arg(value("type", None, "TYPE", "Look only for a container, an image or a volume"))
        .arg(switch("oci", None, "The OCI configuration of containers in place of Docker's JSON"))
        .arg(arguments("names", "NAME", "Names or ids"))
}

fn parse_kind(matches: &ArgMatches) -> Result<Option<Kind>, CliError> {
    match text(matches, "type") {
        None | Some("") => Ok(None),
        Some("container") => Ok(Some(Kind::Container)),
        Some("image") => Ok(Some(Kind::Image)),
        Some("volume") => Ok(Some(Kind::Volume)),
        Some(other) => Err(CliError::flag("type", format!("\"{other}\" is not container, image or volume"))),
    }
}

fn inspect(context: &Context, matches: &ArgMatches, kind: Option<Kind>) -> Result<u8, CliError> {
    let oci = is(matches, "oci");
    let kind = if oci { Some(Kind::Container) } else { kind };
    let templated = template(matches).is_some();
    // A flag of `image inspect` alone.
    let layers = matches.try_get_one::<bool>("layers").ok().flatten() == Some(&true);
    let find = |name: &str| {
        let mut object = find(context, name, kind, oci, is(matches, "size"))?;
        if layers {
            object["Layers"] = image_layers(context, name)?;
        }
        Ok(if templated { with_optional(object) } else { object })
    };
    show(context, matches, "names", find, |mut found| {
        if oci && found.len() == 1 { found.remove(0) } else { Value::Array(found) }
    })
}

/// What each of the arguments of this name means, in the words of `--format` or as JSON: `all` makes one value of those that were found.
pub(super) fn show(
    context: &Context,
    matches: &ArgMatches,
    arguments: &str,
    find: impl Fn(&str) -> Result<Value, CliError>,
    all: impl FnOnce(Vec<Value>) -> Value,
) -> Result<u8, CliError> {
    let mut found = Vec::new();
    let result = context.each(&texts(matches, arguments), |name| {
        let object = find(name)?;
        match template(matches) {
            Some(template) => context.line(&render_one(template, &object, true)?),
            None => {
                found.push(object);
                Ok(())
            }
        }
    });
    if template(matches).is_none() {
        // As Docker: what was found is shown although something was not.
        context.line(&pretty(&all(found)))?;
    }
    result
}

fn template(matches: &ArgMatches) -> Option<&str> {
    text(matches, "format").filter(|format| !format.is_empty())
}

/// What Docker's JSON leaves out when it is empty and its templates know all the same: `{{if .State.Health}}` is in many scripts.
fn with_optional(mut object: Value) -> Value {
    const OPTIONAL: [(&str, &[&str]); 3] = [
        ("", &["SizeRw", "SizeRootFs"]),
        ("/State", &["Health"]),
        ("/Config", &["Healthcheck", "ExposedPorts", "StopSignal", "StopTimeout", "Shell", "OnBuild"]),
    ];
    for (place, names) in OPTIONAL {
        if let Some(Value::Object(fields)) = object.pointer_mut(place) {
            for name in names {
                fields.entry(*name).or_insert(Value::Null);
            }
        }
    }
    object
}

fn find(context: &Context, name: &str, kind: Option<Kind>, oci: bool, size: bool) -> Result<Value, CliError> {
    let attempt = |kind| match kind {
        Kind::Container => container(context, name, oci, size),
        Kind::Image => image(context, name),
        Kind::Volume => volume(context, name),
    };
    if let Some(kind) = kind {
        return attempt(kind);
    }
    for kind in [Kind::Container, Kind::Image, Kind::Volume] {
        match attempt(kind) {
            Err(error) if error.is_not_found() => {}
            result => return result,
        }
    }
    let hint = "`onggi ps -a`, `onggi images` and `onggi volume ls` list what there is";
    Err(CliError::not_found(format!("No such object: {name}")).hint(hint))
}

fn image(context: &Context, name: &str) -> Result<Value, CliError> {
    let store = context.store()?;
    let image = store.resolve(name)?;
    let names = store.names(&image.id)?;
    Ok(image::describe(&image, &names, &store.repo_digests(&image.id)?))
}

fn image_layers(context: &Context, name: &str) -> Result<Value, CliError> {
    let store = context.store()?;
    let image = store.resolve(name)?;
    Ok(image::layers(&image, &store.layer_details(&image)?, &store.images()?))
}

fn volume(context: &Context, name: &str) -> Result<Value, CliError> {
    Ok(super::volume_inspect::describe(&context.engine()?.volume(name)?))
}

fn container(context: &Context, name: &str, oci: bool, size: bool) -> Result<Value, CliError> {
    let engine = context.engine()?;
    let id = engine.resolve(name)?;
    if oci {
        return Ok(engine.inspect_oci(&id)?);
    }
    let mut object = engine.inspect(&id)?;
    if size {
        let filters = [("id".to_owned(), vec![id.to_string()])].into();
        let options = ListOptions { all: true, last: None, size: true, filters };
        for summary in engine.list(&options)? {
            object["SizeRw"] = json!(summary.size_rw);
            object["SizeRootFs"] = json!(summary.size_root);
        }
    }
    Ok(object)
}

/// Four spaces, as Docker.
fn pretty(value: &Value) -> String {
    let mut text = Vec::new();
    let format = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, format);
    match serde::Serialize::serialize(value, &mut serializer) {
        Ok(()) => String::from_utf8(text).unwrap_or_else(|_| value.to_string()),
        Err(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_know_what_the_json_leaves_out() {
        let object = json!({"State": {"Status": "running"}, "Config": {"StopSignal": "SIGINT"}});
        let render = |format: &str| render_one(format, &with_optional(object.clone()), true).unwrap();
        assert_eq!(render("{{if .State.Health}}healthy{{else}}{{.State.Status}}{{end}}"), "running");
        assert_eq!(render("{{.Config.StopSignal}}"), "SIGINT");
        assert!(render_one("{{.State.Nonsense}}", &with_optional(object.clone()), true).is_err());
    }
}
