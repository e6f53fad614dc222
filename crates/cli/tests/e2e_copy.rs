//! `cp` in both directions, and what a container can do to whoever copies from it.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::Command;

use common::busybox;
use onggi_testkit::TestEnv;

/// A container that runs, one that has ended with a volume, and a directory on the host with `f`, `d/s/x`, and links.
fn scene() -> (TestEnv, String) {
    let onggi = busybox();
    onggi.ok(["run", "-d", "--name", "runs", "-v", "/data", "busybox", "sleep", "1000"]);
    onggi.ok(["run", "--name", "ended", "-v", "/data", "busybox", "true"]);
    let here = onggi.file("");
    fs::create_dir_all(here.join("d/s")).expect("directories");
    fs::write(here.join("f"), "text\n").expect("a file");
    fs::write(here.join("d/s/x"), "deep\n").expect("a file");
    symlink("f", here.join("link")).expect("a link");
    std::os::unix::fs::chown(here.join("f"), Some(1234), Some(2345)).expect("an owner");
    fs::set_permissions(here.join("f"), fs::Permissions::from_mode(0o4750)).expect("a mode");
    (onggi, here.display().to_string().trim_end_matches('/').to_owned())
}

#[test]
fn files_go_in_and_come_out() {
    let (onggi, here) = scene();
    let mut events = onggi.events(&["event=archive-path", "event=extract-to-dir"]);
    for name in ["runs", "ended"] {
        // The volume too, and a directory of the image; owners are kept as Docker keeps them.
        for directory in ["/data", "/usr/", "/new-file-here"] {
            onggi.ok(["cp", &format!("{here}/f"), &format!("{name}:{directory}")]);
        }
        events.expect("extract-to-dir");
        onggi.ok(["cp", &format!("{here}/d"), &format!("{name}:/data/tree")]);
        onggi.ok(["cp", &format!("{here}/d/."), &format!("{name}:/data")]);
        let out = format!("{here}/out-{name}");
        onggi.ok(["cp", &format!("{name}:/data"), &out]);
        events.expect("archive-path");
        assert_eq!(fs::read_to_string(format!("{out}/f")).expect("a file"), "text\n");
        assert_eq!(fs::read_to_string(format!("{out}/s/x")).expect("a file"), "deep\n");
        assert_eq!(fs::read_to_string(format!("{out}/tree/s/x")).expect("a file"), "deep\n");
        let data = fs::metadata(format!("{out}/f")).expect("a file");
        assert_eq!(
            (data.uid(), data.gid(), data.mode() & 0o7777),
            (0, 0, 0o750),
            "the caller's, never setuid"
        );
        onggi.ok(["cp", "-a", &format!("{name}:/usr/f"), &format!("{here}/kept")]);
        let data = fs::metadata(format!("{here}/kept")).expect("a file");
        assert_eq!((data.uid(), data.gid(), data.mode() & 0o7777), (1234, 2345, 0o4750));
        fs::remove_file(format!("{here}/kept")).expect("it is there");
    }
    let listed = onggi.ok(["exec", "runs", "ls", "-ln", "/data/f", "/new-file-here"]);
    assert!(listed.lines().all(|line| line.contains("1234") && line.contains("2345")), "{listed}");
    // What was copied into one that does not run is there when it does.
    onggi.ok(["cp", &format!("{here}/f"), "ended:/bin/added"]);
    assert!(onggi.ok(["start", "-a", "ended"]).is_empty());
    onggi.ok(["cp", "ended:/bin/added", &format!("{here}/back")]);
    // Links: themselves, or what they lead to.
    onggi.ok(["cp", &format!("{here}/link"), "runs:/link"]);
    onggi.ok(["cp", "-L", &format!("{here}/link"), "runs:/followed"]);
    assert_eq!(onggi.ok(["exec", "runs", "sh", "-c", "readlink /link; cat /followed"]), "f\ntext");
}

#[test]
fn archives_go_in_and_come_out() {
    let (onggi, here) = scene();
    onggi.ok(["cp", &format!("{here}/d"), "runs:/d"]);
    let names = |path: &str| {
        let tar = onggi.run(["cp", path, "-"]).code(0);
        let file = onggi.file("listed.tar");
        fs::write(&file, tar.bytes).expect("a file");
        let listing = Command::new("tar").arg("-tf").arg(&file).output().expect("tar runs");
        String::from_utf8(listing.stdout).expect("names")
    };
    assert_eq!(names("runs:/d"), "d/\nd/s/\nd/s/x\n");
    assert_eq!(names("runs:/d/."), "./\n./s/\n./s/x\n");
    assert_eq!(names("runs:/d/s/x"), "x\n");
    let tar = Command::new("tar").args(["-cz", "-C", &here, "f", "d"]).output().expect("tar runs").stdout;
    for name in ["runs", "ended"] {
        assert_eq!(onggi.command(["cp", "-", &format!("{name}:/usr")]).input(tar.clone()).output().code, 0);
        onggi.ok(["cp", &format!("{name}:/usr/d/s/x"), &format!("{here}/x-{name}")]);
    }
    let output = onggi.command(["cp", "-", "runs:/usr"]).input("no tar").output().code(1);
    assert!(output.stderr.contains("archive") || output.stderr.contains("tar"), "{output}");
    onggi.command(["cp", "-", "runs:/nothing"]).input(tar).output().code(1).says("must be a directory");
}

#[test]
fn what_cannot_be_copied_is_said_as_docker_says_it() {
    let (onggi, here) = scene();
    onggi.ok(["run", "--name", "ro", "--read-only", "-v", &format!("{here}:/host:ro"), "busybox", "true"]);
    let mut text = String::new();
    for (source, target) in [
        ("runs:/nothing", "HERE"),
        ("runs:/proc/1/status", "HERE"),
        ("HERE/nothing", "runs:/"),
        ("HERE/f", "runs:/nothing/"),
        ("HERE/f", "runs:/nothing/x"),
        ("HERE/d", "runs:/bin/sh"),
        ("HERE/f", "runs:/bin/sh/"),
        ("runs:/bin", "HERE/f"),
        ("runs:/bin", "HERE/nothing/x"),
        ("runs:/bin/sh", "HERE/nothing/"),
        ("runs:/bin/sh/", "HERE"),
        ("runs:/bin", "ended:/"),
        ("HERE/f", "HERE/g"),
        ("-", "-"),
        ("nothing:/x", "HERE"),
        ("HERE/f", "nothing:/"),
        ("HERE/f", "runs:"),
        ("HERE/f", "ro:/f"),
        ("HERE/f", "ro:/host/g"),
    ] {
        let output = onggi.fails(["cp", &source.replace("HERE", &here), &target.replace("HERE", &here)]);
        text += &format!(
            "$ onggi cp {source} {target}  # {}\n{}",
            output.code,
            output.stderr.replace(&here, "HERE")
        );
    }
    insta::assert_snapshot!(text);
}

/// CVE-2018-15664, CVE-2019-10152: a link in the container, absolute or climbing, never leads to the host's files.
#[test]
fn links_of_the_container_do_not_lead_out() {
    let (onggi, here) = scene();
    let secret = onggi.write("secret", "the host's\n");
    let target = secret.parent().expect("a directory").display().to_string();
    let script = format!(
        "ln -s {target} /absolute; ln -s ../../../../../../../..{target} /climbing; ln -s /proc/1/root /magic; ln -s {target}/planted /dangling"
    );
    onggi.ok(["exec", "runs", "sh", "-c", &script]);
    onggi.ok(["run", "--name", "links", "busybox", "sh", "-c", &script]);
    for name in ["runs", "links"] {
        for link in ["absolute", "climbing"] {
            onggi.fails(["cp", &format!("{name}:/{link}/secret"), &format!("{here}/stolen")]);
            onggi.fails(["cp", &format!("{here}/f"), &format!("{name}:/{link}/planted")]);
        }
        onggi.fails(["cp", &format!("{name}:/magic/etc/passwd"), &format!("{here}/stolen")]);
        // A link that leads nowhere is followed inside, where there is no such directory.
        onggi.fails(["cp", &format!("{here}/f"), &format!("{name}:/dangling")]);
    }
    assert!(!secret.with_file_name("planted").exists() && !secret.with_file_name("stolen").exists());
    // Copied as they are, they are links on the host, through which nothing is written.
    onggi.ok(["cp", "runs:/absolute", &format!("{here}/copied")]);
    assert_eq!(fs::read_link(format!("{here}/copied")).expect("a link").display().to_string(), target);
}

/// The same with an archive: names that climb, and a link followed by an entry through it.
#[test]
fn archives_do_not_lead_out() {
    let (onggi, here) = scene();
    let evil = onggi.file("evil");
    fs::create_dir_all(evil.join("one/way")).expect("directories");
    fs::write(evil.join("one/way/planted"), "x").expect("a file");
    symlink(&here, evil.join("link")).expect("a link");
    let tar = |arguments: &[&str]| {
        Command::new("tar").arg("-C").arg(&evil).args(arguments).output().expect("tar runs").stdout
    };
    let climbing = tar(&["-cP", "--transform=s,one/way/planted,../../../planted,", "one/way/planted"]);
    for name in ["runs", "ended"] {
        let output = onggi.command(["cp", "-", &format!("{name}:/usr")]).input(climbing.clone()).output();
        output.code(1).says("leads out");
    }
    // Inside a container a link is the container's: it is followed there, and leads nowhere.
    let through = tar(&["-cP", "--transform=s,one/way/planted,link/planted,", "link", "one/way/planted"]);
    assert_ne!(onggi.command(["cp", "-", "runs:/usr"]).input(through).output().code, 0);
    // A container's own tree with such names comes to the host: `a` is a link there already.
    onggi.ok(["exec", "runs", "sh", "-c", "mkdir -p /src/a && echo x >/src/a/planted"]);
    fs::create_dir_all(format!("{here}/into/src")).expect("a directory");
    symlink(format!("{here}/d"), format!("{here}/into/src/a")).expect("a link");
    onggi.fails(["cp", "runs:/src", &format!("{here}/into")]).says("cannot overwrite non-directory");
    assert!(!std::path::Path::new(&format!("{here}/d/planted")).exists());
    assert!(!std::path::Path::new(&format!("{here}/planted")).exists());
}

/// CVE-2018-15664's race: while files are copied through a directory, the container swaps it for a link to the host's and back.
#[test]
fn a_race_of_links_is_lost() {
    let (onggi, here) = scene();
    fs::write(format!("{here}/victim"), "the host's\n").expect("a file");
    let swap = format!(
        "mkdir -p /a{here}; cd /; ln -s {here} /b; while :; do mv -T /a{here} /c; mv -T /b /a{here}; mv -T /a{here} /b; mv -T /c /a{here}; done 2>/dev/null"
    );
    onggi.ok(["exec", "-d", "runs", "sh", "-c", &swap]);
    for turn in 0..60 {
        let victim = format!("runs:/a{here}/victim");
        let _ = onggi.run(["cp", &format!("{here}/f"), &victim]);
        let stolen = format!("{here}/stolen-{turn}");
        let _ = onggi.run(["cp", &victim, &stolen]);
        assert_ne!(fs::read_to_string(&stolen).unwrap_or_default(), "the host's\n", "read through the link");
    }
    assert_eq!(fs::read_to_string(format!("{here}/victim")).expect("it is there"), "the host's\n");
}

/// CVE-2026-42306: the place of a volume is a link when the files of a container that does not run are put together.
#[test]
fn a_volume_is_not_mounted_where_a_link_leads() {
    let (onggi, here) = scene();
    let script = format!("rmdir /place 2>/dev/null; ln -sfn {here}/d /place; true");
    onggi.ok(["run", "--name", "liar", "busybox", "sh", "-c", &script]);
    let upper = onggi.data().join("containers").join(onggi.inspect("liar", "{{.Id}}")).join("upper");
    onggi.ok(["create", "--name", "pot", "-v", "kimchi:/place/volume", "busybox", "true"]);
    let pot = onggi.data().join("containers").join(onggi.inspect("pot", "{{.Id}}")).join("upper");
    symlink(fs::read_link(upper.join("place")).expect("a link"), pot.join("place")).expect("a link");
    onggi.ok(["cp", &format!("{here}/f"), "pot:/place/volume/f"]);
    assert!(!std::path::Path::new(&format!("{here}/d/volume")).exists(), "made on the host");
    let volume = onggi.ok(["volume", "inspect", "-f", "{{.Mountpoint}}", "kimchi"]);
    assert_eq!(fs::read_to_string(format!("{volume}/f")).expect("it is in the volume"), "text\n");
    onggi.ok(["rm", "pot"]);
    onggi.ok(["volume", "rm", "kimchi"]);
}

/// GHSA-vp62-88p7-qqf5 and CVE-2019-14271: nothing is made through links, no name is looked up in the container's files, no library loaded.
#[test]
fn the_containers_files_are_only_data() {
    let (onggi, here) = scene();
    onggi.ok(["exec", "runs", "sh", "-c", "mkdir -p /lib /etc; echo 'hosts: evil' >/etc/nsswitch.conf; echo evil >/lib/libnss_evil.so.2; echo 'root:x:4242:4242::/:/bin/sh' >/etc/passwd; mkfifo /fifo"]);
    onggi.ok(["cp", &format!("{here}/f"), "runs:/f"]);
    let listed = onggi.ok(["exec", "runs", "ls", "-ln", "/f"]);
    assert!(listed.contains("1234"), "numbers, not names: {listed}");
    // A FIFO is copied and not read; a device is not made on the host.
    onggi.ok(["cp", "runs:/fifo", &format!("{here}/fifo")]);
    let make = "mkdir /nodes; mknod /nodes/disk b 8 0";
    onggi.ok(["run", "--name", "maker", "--cap-add", "MKNOD", "busybox", "sh", "-c", make]);
    onggi.fails(["cp", "maker:/nodes", &format!("{here}/nodes")]).says("a device is not made");
    // All of the tree comes, without what the kernel makes up.
    let tar = onggi.run(["cp", "runs:/", "-"]).code(0);
    assert!(tar.bytes.len() > 1000);
}

#[test]
fn what_a_container_has_changed() {
    let onggi = busybox();
    let script = "echo x >/tmp/new; mkdir -p /deep/er; echo y >/deep/er/z; rm /bin/arch; rm -r /usr; mkdir /usr; echo u >/usr/u; chmod 700 /bin/ls; echo ready; exec sleep 1000";
    onggi.ok(["run", "-d", "--name", "jar", "-v", "/data", "busybox", "sh", "-c", script]);
    onggi.spawn(["logs", "-f", "jar"]).expect("ready");
    onggi.ok(["create", "--name", "new", "busybox", "true"]);
    assert_eq!(onggi.ok(["diff", "new"]), "");
    let changes = onggi.ok(["diff", "jar"]);
    onggi.ok(["stop", "-t", "0", "jar"]);
    assert_eq!(onggi.ok(["diff", "jar"]), changes);
    insta::assert_snapshot!(changes);
    onggi.ok(["run", "--name", "idle", "busybox", "true"]);
    assert_eq!(onggi.ok(["diff", "idle"]), "", "what every start makes is nobody's change");
    onggi.fails(["diff", "nothing"]).code(1).says("No such container");
}

#[test]
fn an_exported_container_can_be_imported() {
    let onggi = busybox();
    onggi.ok([
        "run",
        "-d",
        "--name",
        "jar",
        "-v",
        "/data",
        "busybox",
        "sh",
        "-c",
        "echo mine >/mine; echo volume >/data/v; echo ready; exec sleep 1000",
    ]);
    onggi.spawn(["logs", "-f", "jar"]).expect("ready");
    let mut events = onggi.events(&["event=export"]);
    for (turn, path) in ["runs.tar", "ended.tar"].into_iter().enumerate() {
        let file = onggi.file(path);
        onggi.ok(["export", "-o", &file.display().to_string(), "jar"]);
        events.expect("export");
        let listing = Command::new("tar").arg("-tf").arg(&file).output().expect("tar runs");
        let listing = String::from_utf8(listing.stdout).expect("names");
        let has = |name: &str| listing.lines().any(|line| line == name);
        assert!(has("mine") && has("bin/sh") && has("data/") && has("proc/"), "{listing}");
        assert!(!has("data/v") && !listing.contains("proc/1") && !listing.contains("dev/null"), "{listing}");
        let image = format!("copy{turn}");
        onggi.ok(["import", &file.display().to_string(), &image]);
        assert_eq!(onggi.run(["run", "--rm", &image, "cat", "/mine"]).code(0).stdout, "mine\n");
        onggi.ok(["stop", "-t", "0", "jar"]);
    }
    let piped = onggi.run(["export", "jar"]).code(0);
    assert!(piped.bytes.len() > 100_000);
}

#[test]
fn devices_and_pipes_are_not_replaced_and_links_are_followed() {
    let (onggi, here) = scene();
    for target in ["runs:/dev/null", "runs:/dev"] {
        if target == "runs:/dev" {
            fs::rename(format!("{here}/f"), format!("{here}/null")).expect("it is there");
        }
        let source = if target == "runs:/dev" { "null" } else { "f" };
        let refused = onggi.run(["cp", &format!("{here}/{source}"), target]).code(1);
        refused.says("cannot overwrite device \"null\"");
    }
    assert_eq!(onggi.ok(["exec", "runs", "stat", "-c", "%F", "/dev/null"]), "character special file");
    onggi.ok(["exec", "runs", "mkfifo", "/pipe"]);
    onggi.run(["cp", &format!("{here}/null"), "runs:/pipe"]).code(1).says("cannot overwrite pipe \"pipe\"");
    // On the host, as Docker: what the link leads to, whether it is there or not.
    for name in ["there", "made"] {
        let link = format!("{here}/to-{name}");
        symlink(name, &link).expect("a link");
        if name == "there" {
            fs::write(format!("{here}/{name}"), "old").expect("a file");
        }
        onggi.ok(["cp", "runs:/etc/passwd", &link]);
        assert!(fs::symlink_metadata(&link).expect("the link").is_symlink());
        assert!(fs::read_to_string(format!("{here}/{name}")).expect("a file").contains("root"));
    }
    symlink("nowhere/at/all", format!("{here}/lost")).expect("a link");
    onggi.run(["cp", "runs:/etc/passwd", &format!("{here}/lost")]).code(1).says("nowhere/at");
    onggi.run(["cp", "runs:/etc/passwd", "/dev/null"]).code(1).says("cannot overwrite device");
}
