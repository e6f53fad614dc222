//! What a container may use of caches and memory bandwidth and what it does use, as runc's `events` writes it (its `intel_rdt`): the same names in
//! the same order, each part only where the processor has it.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::super::error::Error;
use super::Group;

/// What the processor counts, by the file that says it.
const BANDWIDTH: [&str; 2] = ["mbm_total_bytes", "mbm_local_bytes"];
const OCCUPANCY: &str = "llc_occupancy";

/// An object, empty for a container without a group.
pub(crate) fn figures(group: Option<&Group>) -> Result<Value, Error> {
    let Some(Group { root, path, monitor, .. }) = group else { return Ok(json!({})) };
    let mut figures = Map::new();
    let (all, own) = (text(&root.join("schemata"))?, text(&path.join("schemata"))?);
    let cache = root.join("info/L3");
    if cache.exists() {
        let mut info = Map::from_iter([("cbm_mask".to_owned(), text(&cache.join("cbm_mask"))?.into())]);
        numbers(&mut info, &cache, &["min_cbm_bits", "num_closids"])?;
        figures.insert("l3_cache_info".into(), info.into());
        lines(&mut figures, "L3", [("l3_cache_schema_root", &all), ("l3_cache_schema", &own)]);
    }
    let bandwidth = root.join("info/MB");
    if bandwidth.exists() {
        let mut info = Map::new();
        let names = ["bandwidth_gran", "delay_linear", "min_bandwidth", "num_closids"];
        numbers(&mut info, &bandwidth, &names)?;
        figures.insert("mem_bw_info".into(), info.into());
        lines(&mut figures, "MB", [("mem_bw_schema_root", &all), ("mem_bw_schema", &own)]);
    }
    figures.insert("schemata".into(), own.lines().collect());
    // Without a group of its own for this, the container is counted with whoever shares its limits.
    let counted = monitor.as_ref().unwrap_or(path);
    count(&mut figures, root, counted)?;
    Ok(figures.into())
}

fn count(figures: &mut Map<String, Value>, root: &Path, group: &Path) -> Result<(), Error> {
    let Ok(features) = std::fs::read_to_string(root.join("info/L3_MON/mon_features")) else { return Ok(()) };
    let is_counted = |name: &&str| features.lines().any(|line| line == *name);
    let bandwidth: Vec<&str> = BANDWIDTH.into_iter().filter(is_counted).collect();
    let occupancy: Vec<&str> = [OCCUPANCY].into_iter().filter(is_counted).collect();
    for (name, all, counted) in
        [("mbm_stats", &BANDWIDTH[..], bandwidth), ("cmt_stats", &[OCCUPANCY][..], occupancy)]
    {
        if counted.is_empty() {
            continue;
        }
        let mut nodes = Vec::new();
        for node in directories(&group.join("mon_data"))? {
            let mut entry = Map::new();
            for file in all {
                let value = if counted.contains(file) { number(&node.join(file))? } else { 0 };
                entry.insert((*file).to_owned(), value.into());
            }
            nodes.push(Value::Object(entry));
        }
        figures.insert(name.to_owned(), nodes.into());
    }
    Ok(())
}

/// The last line about a resource, if there is one.
fn lines(figures: &mut Map<String, Value>, resource: &str, wanted: [(&str, &String); 2]) {
    for (name, schemata) in wanted {
        if let Some(line) = schemata.lines().rfind(|line| line.contains(resource)) {
            figures.insert(name.to_owned(), line.trim().into());
        }
    }
}

/// Without those that are zero, as runc leaves them out.
fn numbers(info: &mut Map<String, Value>, directory: &Path, names: &[&str]) -> Result<(), Error> {
    for name in names {
        let value = number(&directory.join(name))?;
        if value != 0 {
            info.insert((*name).to_owned(), value.into());
        }
    }
    Ok(())
}

fn directories(path: &Path) -> Result<Vec<std::path::PathBuf>, Error> {
    let fail = |error| Error::io(format!("list {}", path.display()), error);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        if entry.file_type().map_err(fail)?.is_dir() {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

fn number(path: &Path) -> Result<u64, Error> {
    let text = text(path)?;
    // The kernel may say `Unavailable`.
    text.parse().map_err(|_| Error::State(format!("{} says {text:?}, which is no number", path.display())))
}

fn text(path: &Path) -> Result<String, Error> {
    let text = std::fs::read_to_string(path);
    Ok(text.map_err(|error| Error::io(format!("read {}", path.display()), error))?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let tree = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = tree.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        tree
    }

    fn group(root: &Path, monitor: Option<&str>) -> Group {
        let monitor = monitor.map(|name| root.join(name));
        Group { root: root.to_owned(), path: root.join("jar"), is_own: true, monitor }
    }

    const WHOLE: [(&str, &str); 16] = [
        ("schemata", "    MB:0=100;1=100\n    L3:0=fff;1=fff\n"),
        ("jar/schemata", "    MB:0=20;1=100\n    L3:0=f;1=fff\n"),
        ("info/L3/cbm_mask", "fff\n"),
        ("info/L3/min_cbm_bits", "2\n"),
        ("info/L3/num_closids", "16\n"),
        ("info/MB/bandwidth_gran", "10\n"),
        ("info/MB/delay_linear", "0\n"),
        ("info/MB/min_bandwidth", "10\n"),
        ("info/MB/num_closids", "8\n"),
        ("info/L3_MON/mon_features", "llc_occupancy\nmbm_total_bytes\n"),
        ("jar/mon_data/mon_L3_00/llc_occupancy", "1\n"),
        ("jar/mon_data/mon_L3_00/mbm_total_bytes", "2\n"),
        ("jar/mon_groups/jar/mon_data/mon_L3_01/llc_occupancy", "5\n"),
        ("jar/mon_groups/jar/mon_data/mon_L3_01/mbm_total_bytes", "6\n"),
        ("jar/mon_groups/jar/mon_data/mon_L3_00/llc_occupancy", "3\n"),
        ("jar/mon_groups/jar/mon_data/mon_L3_00/mbm_total_bytes", "4\n"),
    ];

    #[test]
    fn figures_have_runcs_names_in_its_order() {
        let tree = tree(&WHOLE);
        let expected = [
            r#"{"l3_cache_info":{"cbm_mask":"fff","min_cbm_bits":2,"num_closids":16},"#,
            r#""l3_cache_schema_root":"L3:0=fff;1=fff","l3_cache_schema":"L3:0=f;1=fff","#,
            r#""mem_bw_info":{"bandwidth_gran":10,"min_bandwidth":10,"num_closids":8},"#,
            r#""mem_bw_schema_root":"MB:0=100;1=100","mem_bw_schema":"MB:0=20;1=100","#,
            r#""schemata":["MB:0=20;1=100","    L3:0=f;1=fff"],"#,
        ];
        let own = r#""mbm_stats":[{"mbm_total_bytes":4,"mbm_local_bytes":0},{"mbm_total_bytes":6,"mbm_local_bytes":0}],"cmt_stats":[{"llc_occupancy":3},{"llc_occupancy":5}]}"#;
        let shared =
            r#""mbm_stats":[{"mbm_total_bytes":2,"mbm_local_bytes":0}],"cmt_stats":[{"llc_occupancy":1}]}"#;
        for (monitor, counted) in [(Some("jar/mon_groups/jar"), own), (None, shared)] {
            let figures = figures(Some(&group(tree.path(), monitor))).unwrap();
            assert_eq!(figures.to_string(), format!("{}{counted}", expected.concat()));
        }
    }

    #[test]
    fn what_the_processor_lacks_is_left_out() {
        assert_eq!(figures(None).unwrap().to_string(), "{}");
        let little = tree(&[("schemata", "L2:0=f\n"), ("jar/schemata", "L2:0=3\n")]);
        let said = figures(Some(&group(little.path(), None))).unwrap().to_string();
        assert_eq!(said, r#"{"schemata":["L2:0=3"]}"#);
    }

    #[test]
    fn what_is_no_number_is_an_error() {
        let tree = tree(&WHOLE);
        std::fs::write(tree.path().join("jar/mon_data/mon_L3_00/llc_occupancy"), "Unavailable\n").unwrap();
        let error = figures(Some(&group(tree.path(), None))).unwrap_err().to_string();
        assert!(error.ends_with("llc_occupancy says \"Unavailable\", which is no number"), "{error}");
    }
}
