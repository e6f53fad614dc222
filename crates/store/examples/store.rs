//! Drives a store by hand: `store DATA RUN load FILE`, and the other acts below. For trying things out and for measuring.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::error::Error;
use std::fs::File;
use std::path::Path;
use std::time::Instant;

use onggi_image::Reference;
use onggi_store::{Format, ImportOptions, LoadOptions, Silent, Store};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [data, run, act, rest @ ..] = words.as_slice() else { return Err("store DATA RUN ACT …".into()) };
    let begun = Instant::now();
    let store = Store::open(Path::new(data), Path::new(run))?;
    match (*act, rest) {
        ("load", ["-"]) => {
            println!("{:#?}", store.load(&mut std::io::stdin(), &LoadOptions::default(), &Silent)?);
        }
        ("load", [file]) => {
            println!("{:#?}", store.load_file(File::open(file)?, &LoadOptions::default(), &Silent)?);
        }
        ("load-directory", [path]) => {
            println!("{:#?}", store.load_directory(Path::new(path), &LoadOptions::default(), &Silent)?);
        }
        ("import", [file, name, changes @ ..]) => {
            let changes = changes.iter().map(|&change| change.to_owned()).collect();
            let options =
                ImportOptions { name: Some(Reference::parse(name)?), changes, ..ImportOptions::default() };
            println!("{}", store.import(&mut File::open(file)?, &options, &Silent)?);
        }
        ("save", [format, file, names @ ..]) => {
            let format = if *format == "oci" { Format::OciArchive } else { Format::DockerArchive };
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            store.save(&names, format, None, &Silent, &mut File::create(file)?)?;
        }
        ("images", []) => println!("{:#?}", store.images()?),
        ("resolve", [name]) => println!("{:#?}", store.resolve(name)?),
        ("tag", [name, target]) => println!("{}", store.tag(name, &Reference::parse(target)?)?),
        ("rmi", [name]) => store.remove(name, false, &|_| false)?.iter().for_each(|line| println!("{line}")),
        ("mount", [name]) => println!("{:?}", store.mount_layers(&store.resolve(name)?)?),
        ("unmount", []) => store.unmount_all()?,
        ("check", []) => println!("{:#?}", store.check(false)?),
        ("repair", []) => println!("{:#?}", store.check(true)?),
        _ => return Err("unknown act".into()),
    }
    println!("{:?}", begun.elapsed());
    Ok(())
}
