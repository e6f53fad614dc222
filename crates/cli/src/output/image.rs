//! An image as `docker image inspect` describes it.

use onggi_image::Reference;
use onggi_store::{Image, ImageSummary, LayerDetails};
use serde_json::{Value, json};

/// Docker's fields, in Docker's order.
pub(crate) fn describe(image: &Image, names: &[Reference], digests: &[Reference]) -> Value {
    let document: Value = serde_json::from_slice(&image.raw_config).unwrap_or_default();
    let tags: Vec<String> =
        names.iter().filter(|name| name.tag().is_some()).map(Reference::familiar).collect();
    let digests: Vec<String> = digests.iter().map(Reference::familiar).collect();
    let field = |name: &str| document.get(name).cloned().unwrap_or_else(|| json!(""));
    let layers: Vec<String> = image.layers.iter().map(ToString::to_string).collect();
    json!({
        "Id": image.id.to_string(),
        "RepoTags": tags,
        "RepoDigests": digests,
        // Docker no longer knows the image that another was built on; templates of older ones still ask.
        "Parent": "",
        "Comment": last_comment(&document),
        "Created": image.created,
        "DockerVersion": field("docker_version"),
        "Author": field("author"),
        "Config": config(&document),
        "Architecture": field("architecture"),
        "Variant": field("variant"),
        "Os": field("os"),
        "Size": image.size,
        "VirtualSize": image.size,
        "GraphDriver": {"Data": null, "Name": "overlayfs"},
        "RootFS": {"Type": "layers", "Layers": layers},
        "Metadata": {"LastTagTime": "0001-01-01T00:00:00Z"},
        "Descriptor": {
            "mediaType": manifest_type(image),
            "digest": image.manifest_digest.to_string(),
            "size": image.raw_manifest.len(),
        },
    })
}

/// Each layer, the lowest first: what it is, what made it, what it takes here, and which other images have it.
pub(crate) fn layers(image: &Image, details: &[LayerDetails], all: &[ImageSummary]) -> Value {
    let mut steps = image.config.history.iter().filter(|step| !step.empty_layer);
    let untold = details.len().saturating_sub(steps.clone().count());
    let describe = |(number, layer): (usize, &LayerDetails)| {
        // Layers that no step speaks of come first.
        let step = if number < untold { None } else { steps.next() };
        let blob = image.manifest.layers.get(number);
        let others = all.iter().filter(|other| other.id != image.id && other.layers.contains(&layer.diff_id));
        json!({
            "DiffID": layer.diff_id.to_string(),
            "CreatedBy": step.map_or("", |step| step.created_by.as_str()),
            "Size": layer.size,
            "Entries": layer.entries,
            "Inodes": layer.inodes,
            "DiskUsage": layer.disk_bytes,
            "Blob": blob.map(|blob| json!({
                "mediaType": blob.media_type, "digest": blob.digest.to_string(), "size": blob.size,
            })),
            "SharedWith": others.map(|other| other.id.to_string()).collect::<Vec<_>>(),
        })
    };
    Value::Array(details.iter().enumerate().map(describe).collect())
}

/// The document's own, and what it leaves out as Docker's clients and templates expect to find it.
fn config(document: &Value) -> Value {
    let mut config = document.get("config").and_then(Value::as_object).cloned().unwrap_or_default();
    for name in ["Cmd", "Entrypoint", "Env", "ExposedPorts", "Labels", "OnBuild", "Volumes"] {
        config.entry(name).or_insert(Value::Null);
    }
    for name in ["User", "WorkingDir"] {
        config.entry(name).or_insert_with(|| json!(""));
    }
    Value::Object(config)
}

fn manifest_type(image: &Image) -> String {
    let document: Value = serde_json::from_slice(&image.raw_manifest).unwrap_or_default();
    let default = "application/vnd.oci.image.manifest.v1+json";
    document["mediaType"].as_str().unwrap_or(default).to_owned()
}

fn last_comment(document: &Value) -> String {
    let history = document["history"].as_array().and_then(|entries| entries.last());
    history.and_then(|entry| entry["comment"].as_str()).unwrap_or_default().to_owned()
}
