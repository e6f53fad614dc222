//! Tables of templates with what Go prints for them.

use proptest::prelude::*;
use serde_json::json;

use super::{Column, Options, Template};

fn data() -> serde_json::Value {
    json!({
        "Id": "abc", "Name": "/web", "Count": 3, "Ratio": 0.5, "Huge": 1e21, "On": true, "Off": false,
        "State": {"Status": "exited", "ExitCode": 137, "OOMKilled": true, "Health": null},
        "Config": {"Labels": {"com.example.a": "1", "b": "2"}, "Env": ["A=1", "B=2"], "Empty": []},
        "Mounts": [{"Source": "/a", "Destination": "/x"}, {"Source": "/b", "Destination": "/y"}],
    })
}

fn render(template: &str) -> String {
    let options = Options { strict: true, methods: None, nulls: None };
    match Template::parse(template).and_then(|t| t.render(&data(), &options)) {
        Ok(text) => text,
        Err(error) => format!("error: {error}"),
    }
}

fn check(table: &[(&str, &str)]) {
    for (template, wanted) in table {
        assert_eq!(render(template), *wanted, "template {template:?}");
    }
}

#[test]
fn fields_and_values() {
    check(&[
        ("plain text", "plain text"),
        ("", ""),
        ("{{.Id}}", "abc"),
        ("{{ .ID }}", "abc"),
        ("{{.State.OOMKilled}}", "true"),
        ("{{.State.ExitCode}}/{{.Ratio}}/{{.Huge}}", "137/0.5/1e+21"),
        ("{{.State.Health}}", "<no value>"),
        ("{{.Config.Labels.missing}}", "<no value>"),
        ("{{.Config.Labels}}", "map[b:2 com.example.a:1]"),
        ("{{.Config.Env}} {{.Config.Empty}}", "[A=1 B=2] []"),
        ("{{json .Mounts}}", r#"[{"Source":"/a","Destination":"/x"},{"Source":"/b","Destination":"/y"}]"#),
        ("{{json .State.Health}}", "null"),
        ("{{$.Id}}{{$x := .Count}}{{$x}}", "abc3"),
        ("{{$x := 1}}{{if true}}{{$x = 2}}{{end}}{{$x}}", "2"),
        ("{{(index .Mounts 1).Source}}", "/b"),
        ("{{(.State).Status}}", "exited"),
        ("{{/* a comment */}}a{{- /* trims */ -}} b", "ab"),
        ("a {{- 1 -}} b", "a1b"),
        ("{{-1}}", "-1"),
        ("{{'a'}} {{0x10}} {{1_000}} {{\"\\u00e9\\n\"}}{{`raw\\n`}}", "97 16 1000 é\nraw\\n"),
    ]);
}

#[test]
fn control_flow() {
    check(&[
        ("{{range .Mounts}}{{.Source}};{{end}}", "/a;/b;"),
        ("{{range $i, $m := .Mounts}}{{$i}}={{$m.Source}} {{end}}", "0=/a 1=/b "),
        ("{{range $k, $v := .Config.Labels}}{{$k}}:{{$v}},{{end}}", "b:2,com.example.a:1,"),
        ("{{range .Config.Empty}}x{{else}}none{{end}}", "none"),
        ("{{range 3}}{{.}}{{end}}", "012"),
        ("{{range .Mounts}}{{if eq .Source \"/b\"}}{{break}}{{end}}{{.Source}}{{end}}", "/a"),
        ("{{range .Mounts}}{{if eq .Source \"/a\"}}{{continue}}{{end}}{{.Source}}{{end}}", "/b"),
        ("{{if .On}}yes{{else}}no{{end}}{{if .Off}}yes{{else}}no{{end}}", "yesno"),
        ("{{if eq .Count 1}}a{{else if eq .Count 3}}b{{else}}c{{end}}", "b"),
        ("{{with .State}}{{.Status}}{{end}}{{with .State.Health}}x{{else}}-{{.Id}}{{end}}", "exited-abc"),
        ("{{with $s := .State}}{{$s.Status}}{{end}}", "exited"),
        ("{{range .Mounts}}{{range $.Config.Env}}{{.}}{{end}}{{end}}", "A=1B=2A=1B=2"),
    ]);
}

#[test]
fn functions() {
    check(&[
        ("{{len .Mounts}} {{len .Name}}", "2 4"),
        ("{{index .Config.Labels \"com.example.a\"}}|{{index .Config.Labels \"none\"}}|", "1||"),
        ("{{index .Config.Env 0}}", "A=1"),
        ("{{slice .Name 1}} {{slice .Config.Env 1 2}}", "web [B=2]"),
        ("{{print 1 2 \"a\" \"b\" 3 4}}", "1 2a b3 4".replace("a b", "ab").as_str()),
        ("{{println \"a\" 1}}", "a 1\n"),
        (
            "{{printf \"%s-%05d|%-5s|%5.1f|%q|%x|%%|%v\" .Id .Count .Id .Ratio .Id .Count .On}}",
            "abc-00003|abc  |  0.5|\"abc\"|3|%|true",
        ),
        ("{{printf \"%d\" .Id}}", "%!d(string=abc)"),
        ("{{printf \"%s %s\" .Id}}", "abc %!s(MISSING)"),
        ("{{printf \"a\" 1}}", "a%!(EXTRA int=1)"),
        ("{{join .Config.Env \",\"}} {{split \"a,b\" \",\"}}", "A=1,B=2 [a b]"),
        ("{{.Id | upper | printf \"%s!\"}}", "ABC!"),
        ("{{lower \"ABC\"}} {{title \"hello world\"}}", "abc Hello World"),
        ("{{pad \"x\" 1 2}}|{{truncate \"abcdef\" 3}}", " x  |abc"),
        ("{{and .On .Count}} {{or .Off \"x\"}} {{not .On}}", "3 x false"),
        ("{{and .Off .Nope.Nope}}", "false"),
        (
            "{{eq .Id \"x\" \"abc\"}} {{ne 1 2}} {{lt 1 2}} {{le 2 2}} {{gt \"b\" \"a\"}} {{ge 1 2}}",
            "true true true true true false",
        ),
        ("{{eq .State.Health nil}}", "true"),
        ("{{if and (eq .State.Status \"exited\") (ne .State.ExitCode 0)}}failed{{end}}", "failed"),
    ]);
}

#[test]
fn templates_within_templates() {
    check(&[
        ("{{define \"x\"}}a{{.}}{{end}}{{template \"x\" .Id}}-{{template \"x\" .Count}}", "aabc-a3"),
        ("{{template \"x\" .State}}{{define \"x\"}}{{.Status}} {{$.ExitCode}}{{end}}", "exited 137"),
        ("{{block \"b\" .Id}}[{{.}}]{{end}}", "[abc]"),
        ("{{range .Mounts}}{{template \"m\" .}}{{end}}{{define \"m\"}}{{.Source}};{{end}}", "/a;/b;"),
        ("{{$x := 1}}{{define \"x\"}}{{$x := 2}}{{$x}}{{end}}{{template \"x\"}}{{$x}}", "21"),
    ]);
}

/// What a real Go program printed for them.
#[test]
fn text_is_made_safe_as_go_does() {
    check(&[
        ("{{html \"<a href='x'>\\\"&\"}}", "&lt;a href=&#39;x&#39;&gt;&#34;&amp;"),
        ("{{js \"it's <b>\\n=&\"}}", "it\\'s \\u003Cb\\u003E\\u000A\\u003D\\u0026"),
        ("{{urlquery \"a b&c/é\"}}", "a+b%26c%2F%C3%A9"),
        ("{{.Id | html}}{{html 1 2}}", "abc1 2"),
    ]);
}

#[test]
fn errors_name_the_place() {
    check(&[
        ("{{.Nope}}", "error: template: :1:2: executing \"\" at <.Nope>: map has no entry for key \"Nope\""),
        (
            "a\n{{.State.Status.Deep}}",
            "error: template: :2:2: executing \"\" at <.State.Status.Deep>: can't evaluate field Deep in type string",
        ),
        ("{{.Id", "error: template: :1: unclosed action"),
        ("{{}}", "error: template: :1: missing value for command"),
        ("{{if}}x{{end}}", "error: template: :1: missing value for if"),
        ("{{nope .}}", "error: template: :1: function \"nope\" not defined"),
        ("{{$x}}", "error: template: :1: undefined variable \"$x\""),
        ("{{if .Id}}x", "error: template: :1: unexpected EOF"),
        ("x{{end}}", "error: template: :1: unexpected {{end}}"),
        ("{{else}}", "error: template: :1: unexpected {{else}}"),
        ("{{break}}", "error: template: :1: {{break}} outside {{range}}"),
        ("{{define}}{{end}}", "error: template: :1: unexpected \"}}\" in define clause"),
        ("{{define \"x\" .}}{{end}}", "error: template: :1: unexpected <.> in define clause"),
        ("{{define \"x\"}}a", "error: template: :1: unexpected EOF"),
        ("{{if true}}{{define \"x\"}}{{end}}{{end}}", "error: template: :1: unexpected <define> in command"),
        ("{{template}}", "error: template: :1: unexpected \"}}\" in template clause"),
        ("{{template x}}", "error: template: :1: unexpected \"x\" in template clause"),
        ("{{block \"x\"}}{{end}}", "error: template: :1: missing value for block clause"),
        (
            "{{template \"x\"}}",
            "error: template: :1:11: executing \"\" at <{{template \"x\"}}>: template \"x\" not defined",
        ),
        (
            "{{define \"x\"}}{{.Foo.Bar}}{{end}}{{template \"x\" .Id}}",
            "error: template: :1:16: executing \"x\" at <.Foo.Bar>: can't evaluate field Foo in type string",
        ),
        (
            "{{define \"x\"}}{{template \"x\"}}{{end}}{{template \"x\"}}",
            "error: template: :1:25: executing \"x\" at <{{template \"x\"}}>: exceeded maximum template depth (50)",
        ),
        ("{{upper 1}}", "error: template: :1:8: executing \"\" at <1>: expected string; found 1"),
        (
            "{{truncate .Id \"x\"}}",
            "error: template: :1:15: executing \"\" at <\"x\">: expected integer; found \"x\"",
        ),
        (
            "{{join .Id \",\"}}",
            "error: template: :1:7: executing \"\" at <.Id>: wrong type for value; expected []string; got string",
        ),
        (
            "{{eq 1 1.5}}",
            "error: template: :1:2: executing \"\" at <eq 1 1.5>: error calling eq: incompatible types for comparison: int and float64",
        ),
        ("{{\"x}}", "error: template: :1: unterminated quoted string"),
        ("{{/* x", "error: template: :1: unclosed comment"),
        ("{{(.Id}}", "error: template: :1: unclosed left paren"),
        ("{{.Id)}}", "error: template: :1: unexpected right paren"),
        ("{{#}}", "error: template: :1: unexpected \"#\" in command"),
        (
            "{{index .Mounts 9}}",
            "error: template: :1:2: executing \"\" at <index .Mounts 9>: error calling index: index out of range: 9",
        ),
        (
            "{{lt .Id 1}}",
            "error: template: :1:2: executing \"\" at <lt .Id 1>: error calling lt: incompatible types for comparison: string and int",
        ),
        (
            "{{len}}",
            "error: template: :1:2: executing \"\" at <len>: wrong number of args for len: want 1 got 0",
        ),
        ("{{3 4}}", "error: template: :1: can't give argument to non-function 3"),
        ("{{.Id | 3}}", "error: template: :1: non executable command in pipeline stage 2"),
        (
            "{{.Label \"x\"}}",
            "error: template: :1:2: executing \"\" at <.Label>: Label has arguments but cannot be invoked as function",
        ),
    ]);
    let deep = format!("{}1{}", "{{(".to_owned() + &"(".repeat(500), ")".repeat(501) + "}}");
    assert_eq!(render(&deep), "error: template: :1: template is nested too deeply");
}

#[test]
fn methods_take_arguments() {
    let call = |name: &str, arguments: &[serde_json::Value]| {
        (name == "Label").then(|| Ok(json!(format!("<{}>", arguments[0].as_str().unwrap_or("?")))))
    };
    let options = Options { strict: true, methods: Some(&call), nulls: None };
    let template = Template::parse("{{.Label \"a\"}}{{range .Mounts}}{{$.Label .Source}}{{end}}").unwrap();
    assert_eq!(template.render(&data(), &options).unwrap(), "<a></a></b>");
}

#[test]
fn columns_of_a_table() {
    let template = Template::parse("{{.ID}}\t{{upper .Names}}{{if .X}}{{end}}").unwrap();
    let columns: Vec<_> = template.columns().collect();
    assert_eq!(columns, [Column::Field("ID"), Column::Text("\t"), Column::Field("Names"), Column::Other]);
}

proptest! {
    #[test]
    fn nothing_panics(source in "\\PC{0,60}") {
        let _ = render(&source);
    }

    #[test]
    fn no_action_panics(inside in "[-{}()|$.:=,\"'`a-zA-Z0-9 \\\\%/*]{0,40}") {
        let _ = render(&format!("{{{{{inside}}}}}"));
    }

    #[test]
    fn no_sequence_of_words_panics(words in proptest::collection::vec(prop_oneof![
        Just("{{"), Just("}}"), Just("range"), Just("if"), Just("else"), Just("end"), Just("with"), Just(".Mounts"),
        Just("."), Just("$x"), Just(":="), Just("="), Just("|"), Just("("), Just(")"), Just("index"), Just("printf"),
        Just("\"%5d %s %v\""), Just("slice"), Just("3"), Just("-1"), Just("nil"), Just("break"), Just("json"), Just(".Config"),
    ], 0..20)) {
        let _ = render(&words.join(" "));
    }
}
