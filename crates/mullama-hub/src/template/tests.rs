//! Each template renders what Go's `text/template` renders for Ollama's data.

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Error, ErrorKind as JinjaErrorKind, Value};
use proptest::prelude::*;
use serde_json::json;

use super::*;

mod styles;

/// A Jinja environment like the one for chats.
fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    let mut syntax = minijinja::syntax::SyntaxConfig::builder();
    environment.set_syntax(syntax.trim_blocks(true).lstrip_blocks(true).build().unwrap());
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_filter("tojson", |value: Value| serde_json::to_string(&value).unwrap());
    environment.add_function("raise_exception", |problem: String| {
        Err::<Value, _>(Error::new(JinjaErrorKind::InvalidOperation, problem))
    });
    environment.add_function("strftime_now", |format: String| {
        format.replace("%Y", "2024").replace("%m", "03").replace("%d", "01")
    });
    environment
}

fn try_render(template: &str, data: &serde_json::Value) -> Result<String, Error> {
    let jinja = Template::parse(template).unwrap().to_jinja().unwrap();
    environment().render_str(&jinja, Value::from(Serde(data)))
}

fn render_data(template: &str, data: &serde_json::Value) -> String {
    try_render(template, data).unwrap_or_else(|error| panic!("{template}\n{error:#}"))
}

fn messages(messages: &[(&str, &str)]) -> serde_json::Value {
    let message = |(role, content): &(&str, &str)| json!({ "role": role, "content": content });
    messages.iter().map(message).collect()
}

fn render(template: &str, chat: &[(&str, &str)]) -> String {
    render_data(template, &json!({ "messages": messages(chat), "add_generation_prompt": true }))
}

const CHAT: [(&str, &str); 4] =
    [("system", "S"), ("user", "U1"), ("assistant", "A1"), ("user", "U2")];

/// Tools, a call with arguments of each type, and two results.
fn with_tools() -> serde_json::Value {
    json!({
        "messages": [
            {"role": "user", "content": "U"},
            {"role": "assistant", "content": null, "reasoning_content": "R", "tool_calls": [
                {"type": "function", "id": "c1", "function": {"name": "f", "arguments": {
                    "text": "a & b", "n": 5, "big": 1_234_567, "part": 0.25, "yes": true, "no": null,
                    "list": [1, "a", null, {"y": 2, "x": 1}],
                }}},
            ]},
            {"role": "tool", "tool_call_id": "c1", "content": "1"},
            {"role": "tool", "tool_call_id": "c2", "name": "g", "content": "2"},
        ],
        "tools": [
            {"type": "function", "function": {
                "name": "f",
                "description": "Gives <it>",
                "parameters": {
                    "type": "object",
                    "properties": {
                        "text": {"type": "string", "description": "T", "minLength": 1},
                        "n": {"type": ["integer", "null"], "enum": [1, 5]},
                        "list": {"type": "array", "items": {"type": "number"}},
                    },
                    "required": ["text", "n"],
                },
            }},
            {"type": "function", "function": {"name": "g"}},
        ],
        "enable_thinking": true,
    })
}

const FUNCTION: &str = concat!(
    r#"{"name":"f","description":"Gives \u003cit\u003e","parameters":{"type":"object","required":["text","n"],"#,
    r#""properties":{"list":{"type":"array","items":{"type":"number"}},"#,
    r#""n":{"type":["integer","null"],"enum":[1,5]},"text":{"type":"string","description":"T"}}}}"#,
);

/// Renders a template to which `.Messages` is added.
fn shown(template: &str) -> String {
    render_data(&format!("{template}{{{{ with .Messages }}}}{{{{ end }}}}"), &with_tools())
}

/// Renders a tag for each argument of the call.
fn shown_of_arguments(tag: &str) -> String {
    shown(&format!(
        "{{{{ range .Messages }}}}{{{{ range .ToolCalls }}}}\
         {{{{ range $k, $v := .Function.Arguments }}}}{tag};{{{{ end }}}}{{{{ end }}}}{{{{ end }}}}"
    ))
}

#[test]
fn prompt_response_templates_render_each_turn() {
    let template = "{{ if .System }}<|system|>\n{{ .System }}<|end|>\n{{ end }}\
        {{ if .Prompt }}<|user|>\n{{ .Prompt }}<|end|>\n{{ end }}\
        <|assistant|>\n{{ .Response }}<|end|>\n";
    assert_eq!(
        render(template, &CHAT),
        "<|system|>\nS<|end|>\n<|user|>\nU1<|end|>\n<|assistant|>\nA1<|end|>\n\
         <|user|>\nU2<|end|>\n<|assistant|>\n"
    );
    assert_eq!(
        render("[INST] {{ .System }} {{ .Prompt }} [/INST]", &CHAT[1..2]),
        "[INST]  U1 [/INST]"
    );
    assert_eq!(render("{{ .Prompt }}", &CHAT[1..]), "U1A1U2");
    // A system message starts a new turn.
    let chat = [("user", "U1"), ("system", "S"), ("user", "U2")];
    assert_eq!(render("({{ .System }},{{ .Prompt }})", &chat), "(,U1)(S,U2)");
    // Text after the answer appears only in completed turns.
    let template = "<{{ .Prompt }}>{{ if .Response }}{{ .Response }}.{{ end }}!";
    assert_eq!(render(template, &CHAT[1..]), "<U1>A1.!<U2>");
    assert_eq!(render("<{{ .Prompt }}>{{ .Response }}!", &CHAT[1..3]), "<U1>A1");
}

#[test]
fn consecutive_messages_of_a_role_are_merged() {
    let chat = [("user", "a"), ("user", "b"), ("assistant", "c"), ("system", "d"), ("system", "e")];
    assert_eq!(render("<{{ .Prompt }}>{{ .Response }}{{ .System }};", &chat), "<a\n\nb>c;<>");
    let by_messages = "{{ .System }}|{{ range .Messages }}{{ .Role }}={{ .Content }};{{ end }}";
    assert_eq!(render(by_messages, &chat), "d\n\ne|user=a\n\nb;assistant=c;system=d\n\ne;");
    let results = [("user", "a"), ("tool", "b"), ("tool", "c")];
    assert_eq!(render(by_messages, &results), "|user=a;tool=b;tool=c;");
    // `developer` messages, and content in parts.
    let data = json!({"messages": [
        {"role": "developer", "content": "a"},
        {"role": "user", "content": [{"type": "text", "text": "b"}, {"type": "text", "text": "c"}]},
        {"role": "assistant", "content": null},
    ]});
    assert_eq!(render_data(by_messages, &data), "a|system=a;user=bc;assistant=;");
}

#[test]
fn message_templates_render_once() {
    let template = r#"{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 -}}
<|im_start|>{{ .Role }}
{{ .Content }}{{ if not $last }}<|im_end|>
{{ end }}
{{- if and (ne .Role "assistant") $last }}<|im_end|>
<|im_start|>assistant
{{ end }}
{{- end }}"#;
    assert_eq!(
        render(template, &CHAT),
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU1<|im_end|>\n\
         <|im_start|>assistant\nA1<|im_end|>\n<|im_start|>user\nU2<|im_end|>\n\
         <|im_start|>assistant\n"
    );
}

#[test]
fn templates_with_both_styles_use_messages() {
    let template = r#"
{{- if .Messages }}{{ if or .System .Tools }}<s>{{ .System }}</s>{{ end }}
{{- range .Messages }}{{ if eq .Role "user" }}[{{ .Content }}]
{{- else if eq .Role "assistant" "tool" }}({{ .Content }}){{ end }}{{ end }}
{{- else }}{{ .Prompt }}{{ end }}{{ .Response }}"#;
    assert_eq!(render(template, &CHAT), "<s>S</s>[U1](A1)[U2]");
}

#[test]
fn long_chats_are_rendered() {
    let chat: Vec<_> = (0..3000).map(|i| (["user", "assistant"][i % 2], "a")).collect();
    let template = "{{ range $i, $_ := .Messages }}{{ if eq (len (slice $.Messages $i)) 1 }}{{ $i }}{{ end }}{{ end }}";
    assert_eq!(render(template, &chat), "2999");
    let alike: Vec<_> = (0..300).map(|_| ("user", "a")).collect();
    assert_eq!(render("{{ len .Messages }}", &alike), "1");
}

#[test]
fn break_and_continue_preserve_output() {
    let template = r#"{{ range .Messages }}{{ if eq .Role "system" }}System: {{ .Content }}
{{ continue }}{{ else if eq .Role "user" }}User:{{ end }}
{{ .Content }}
{{ end }}"#;
    assert_eq!(render(template, &CHAT[..2]), "System: S\nUser:\nU1\n");
    let template = r"{{ range $i, $m := .Messages }}{{ $m.Content }}
{{- if eq $i 1 }}!{{ break }}{{ end }},{{ else }}none{{ end }}";
    assert_eq!(render(template, &CHAT), "S,U1!");
    // The `else` of a `range` is not rendered if the first iteration breaks.
    let template = "{{ range .Messages }}{{ .Content }}{{ break }}{{ else }}none{{ end }}{{ range .Tools }}{{ else }}none{{ end }}";
    assert_eq!(render(template, &CHAT), "Snone");
}

#[test]
fn variables_are_scoped_to_blocks() {
    let template = r#"
{{- $found := "no" -}}
{{ range $i, $m := .Messages }}{{ $n := len $m.Content -}}
{{ if gt $n 1 }}{{ $found = $m.Content }}{{ end -}}
{{ range $i, $x := slice $.Messages 2 }}{{ $i }}{{ end }}:{{ $i }} {{ end -}}
{{ $found }}"#;
    assert_eq!(render(template, &CHAT), "01:0 01:1 01:2 01:3 U2");
    assert_eq!(
        shown(r#"{{ $x := "a" }}{{ if true }}{{ $x := "b" }}{{ $x }}{{ end }}{{ $x }}"#),
        "ba"
    );
    assert_eq!(
        shown(
            r"{{ if $x := len .Messages }}{{ $x }}{{ end }}{{ if $y := 0 }}{{ else }}{{ $y }}{{ end }}"
        ),
        "40"
    );
    assert_eq!(shown(r#"{{ with $x := "a" }}{{ $x }}{{ . }}{{ end }}"#), "aa");
    // The type of a variable may change in a later iteration.
    assert_eq!(
        shown("{{ $x := 1 }}{{ range .Messages }}{{ $x }},{{ $x = .Role }}{{ end }}"),
        "1,user,assistant,tool,"
    );
    assert_eq!(
        shown(
            "{{ $m := index .Messages 0 }}{{ range .Messages }}{{ $m = . }}{{ end }}{{ $m.Content }}"
        ),
        "2"
    );
    assert_eq!(shown("{{ $all := . }}{{ range .Tools }}{{ len $all.Messages }}{{ end }}"), "44");
}

#[test]
fn values_print_as_go_prints_them() {
    for (template, expected) in [
        ("{{ .Think }} {{ not .Think }} {{ true }}", "true false true"),
        ("{{ .IsThinkSet }} {{ .ThinkLevel }} [{{ .System }}]", "true medium []"),
        ("{{ .Prompt }} {{ .Suffix }}", "<no value> <no value>"),
        ("{{ 'a' }} {{ 0x10 }} {{ 1_000 }} {{ 1e3 }} {{ 1.0 }} {{ -3 }}", "97 16 1000 1000 1 -3"),
        ("{{ len .Messages }} {{ len \"日本\" }}", "4 6"),
        ("{{ range .Messages }}{{ .Images }}{{ if .Images }}!{{ end }}{{ end }}", "[][][][]"),
        ("{{ range .Messages }}{{ .ToolName }},{{ end }}", ",,f,g,"),
        (
            "{{ range .Tools }}{{ .Function.Parameters.Required }}{{ range $n, $p := .Function.Parameters.Properties }} {{ $n }}:{{ $p.Type }}:{{ $p.Enum }}{{ end }};{{ end }}",
            "[text n] list:array:[] n:[integer null]:[1 5] text:string:[];[];",
        ),
        (
            "{{ range .Messages }}{{ .ToolCalls }};{{ end }}",
            r#"[];[{c1 {0 f {"big":1234567,"list":[1,"a",null,{"x":1,"y":2}],"n":5,"no":null,"part":0.25,"text":"a \u0026 b","yes":true}}}];[];[];"#,
        ),
    ] {
        assert_eq!(shown(template), expected, "{template}");
    }
    assert_eq!(
        shown_of_arguments("{{ $k }}={{ $v }}"),
        "big=1.234567e+06;list=[1 a <nil> map[x:1 y:2]];n=5;no=<no value>;part=0.25;text=a & b;yes=true;"
    );
    assert_eq!(
        shown_of_arguments("{{ json $v }}"),
        r#"1234567;[1,"a",null,{"x":1,"y":2}];5;null;0.25;"a \u0026 b";true;"#
    );
    assert_eq!(
        shown_of_arguments(
            "{{ if $v }}{{ $k }}{{ end }}{{ if eq $k \"list\" }}{{ range $i, $x := $v }}{{ $i }}{{ end }}{{ end }}"
        ),
        "big;list0123;n;;part;text;yes;"
    );
}

#[test]
fn tools_print_as_json() {
    let none = r#"{"name":"g","description":"","parameters":{"type":"","properties":null}}"#;
    let [tool, other] =
        [FUNCTION, none].map(|function| format!(r#"{{"type":"function","function":{function}}}"#));
    assert_eq!(shown("{{ range .Tools }}{{ .Function }};{{ end }}"), format!("{FUNCTION};{none};"));
    assert_eq!(shown("{{ range .Tools }}{{ . }};{{ end }}"), format!("{tool};{other};"));
    for list in
        ["{{ .Tools }}", "{{ json .Tools }}", "{{ .Tools | json }}", r#"{{ printf "%s" .Tools }}"#]
    {
        assert_eq!(shown(list), format!("[{tool},{other}]"), "{list}");
    }
    assert_eq!(render("{{ .Tools }}{{ range .Messages }}{{ end }}", &CHAT), "null");
    let properties = "{{ (index .Tools 0).Function.Parameters.Properties }}";
    let (_, expected) = FUNCTION.split_once(r#""properties":"#).unwrap();
    assert_eq!(shown(properties), expected.strip_suffix("}}").unwrap());
    assert_eq!(
        shown(
            "{{ range (index .Tools 0).Function.Parameters.Properties }}{{ json . }}{{ toTypeScriptType . }};{{ end }}"
        ),
        concat!(
            r#"{"type":"array","items":{"type":"number"}}any[];"#,
            r#"{"type":["integer","null"],"enum":[1,5]}number | null;"#,
            r#"{"type":"string","description":"T"}string;"#,
        )
    );
    assert_eq!(
        shown(
            "{{ range .Messages }}{{ range .ToolCalls }}{{ .Function.Name }}{{ .Function.Arguments }}{{ end }}{{ end }}"
        ),
        r#"f{"big":1234567,"list":[1,"a",null,{"x":1,"y":2}],"n":5,"no":null,"part":0.25,"text":"a \u0026 b","yes":true}"#
    );
}

#[test]
fn functions_match_go() {
    for (template, expected) in [
        (r#"{{ and 1 "" "x" }}|{{ or 0 "" "x" }}|{{ and 0 1 }}|{{ not "" }}"#, "|x|0|true"),
        (r#"{{ eq 1 2 1 }} {{ ne "a" "b" }} {{ lt "a" "b" }} {{ ge 2 2 }}"#, "true true true true"),
        ("{{ eq .Nope nil }} {{ eq .Tools nil }} {{ ne .Nope \"a\" }}", "true false true"),
        // Values after the deciding one are not evaluated.
        (
            "{{ range $i, $_ := .Messages }}{{ if and (gt $i 9) (index $.Messages 9) }}!{{ end }}{{ end }}",
            "",
        ),
        ("{{ (index .Messages 0).Role }} {{ (slice .Messages 1 3) | len }}", "user 2"),
        (
            r#"{{ range .Messages }}{{ range .ToolCalls }}{{ index .Function.Arguments "n" }}{{ .Function.Arguments.part }}{{ index .Function.Arguments "list" 1 }}{{ end }}{{ end }}"#,
            "50.25a",
        ),
        (r#"{{ slice "abc" 1 2 }}{{ "x" | printf "%s-%s" "y" | len | printf "%03d" }}"#, "b003"),
        (r#"{{ print "a" 1 2 "b" 3 true nil }}{{ println "a" 1 }}"#, "a1 2b3 true <nil>a 1\n"),
        (
            r#"{{ printf "%5d|%-5d|%05d|%+d|%x|%X|%6.2f|%-4s|%4s|%t|%v|%.2s|%%" 42 42 42 42 255 255 3.14159 "ab" "é" true "x" "日本語" }}"#,
            "   42|42   |00042|+42|ff|FF|  3.14|ab  |   é|true|x|日本|%",
        ),
        (
            r#"{{ printf "%q|%x|%s|%d|%v" "a\"\n\u00a0" "hi" 5 "x" nil }}"#,
            r#""a\"\n\u00a0"|6869|%!s(int=5)|%!d(string=x)|<nil>"#,
        ),
        (r#"{{ $n := 3 }}{{ len (printf "a%*s" $n "") }}{{ printf "" }}"#, "4"),
        (
            r#"{{ html "<a&'\">" }}{{ js "<'\n" }}{{ urlquery "a b/c~" }}"#,
            r"&lt;a&amp;&#39;&#34;&gt;\u003C\'\u000Aa+b%2Fc~",
        ),
        (r#"{{ json "a<b" }} {{ json 5 }} {{ len (json 5) }}"#, r#""a\u003cb" 5 1"#),
        ("{{ currentDate }} {{ yesterdayDate }}", "2024-03-01 2024-02-29"),
        (
            r"{{ if eq .First nil }}{{ if .First }}a{{ else if false }}b{{ else }}c{{ end }}{{ end }}",
            "c",
        ),
        (
            r"{{ with .System }}{{ . }}{{ else }}none{{ end }}{{ with .Nope }}{{ else with len .Tools }}{{ . }}{{ end }}",
            "none2",
        ),
        ("{{ range 3 }}{{ . }}{{ end }}{{ range $i := len .Tools }}{{ $i }}{{ end }}", "01201"),
    ] {
        assert_eq!(shown(template), expected, "{template}");
    }
    assert_eq!(
        shown_of_arguments(
            r#"{{ if ne $k "list" }}{{ printf "%f|%s|%t|%5v" $v $v $v $v }}{{ end }}"#
        ),
        concat!(
            "1234567.000000|%!s(float64=1.234567e+06)|%!t(float64=1.234567e+06)|1.234567e+06;;",
            "5.000000|%!s(float64=5)|%!t(float64=5)|    5;%!f(<nil>)|%!s(<nil>)|%!t(<nil>)|<nil>;",
            "0.250000|%!s(float64=0.25)|%!t(float64=0.25)| 0.25;",
            "%!f(string=a & b)|a & b|%!t(string=a & b)|a & b;%!f(bool=true)|%!s(bool=true)|true| true;",
        )
    );
}

#[test]
fn templates_call_others() {
    for (template, expected) in [
        (
            r#"{{ define "m" }}[{{ .Role }}{{ $x := .Content }}{{ $x }}{{ $.Role }}]{{ end }}{{ range .Messages }}{{ template "m" . }}{{ end }}"#,
            "[userUuser][assistantassistant][tool1tool][tool2tool]",
        ),
        (
            r#"{{ template "a" .Think }}{{ template "a" "x" }}{{ template "a" }}{{ define "a" }}{{ . }},{{ end }}"#,
            "true,x,<no value>,",
        ),
        (
            r#"{{ block "b" .Tools }}{{ len . }}{{ end }}{{ template "all" . }}{{ define "all" }}{{ len .Messages }}{{ $.Think }}{{ end }}"#,
            "24true",
        ),
        (
            r#"{{ define "r" }}{{ $n := len . }}{{ if gt $n 1 }}{{ template "r" (slice . 1) }}{{ end }}{{ $n }}{{ end }}{{ template "r" .Messages }}"#,
            "1234",
        ),
    ] {
        assert_eq!(shown(template), expected, "{template}");
    }
    // `.Messages` is found in any expression, and a turn may be in a defined template.
    let template = r#"{{ define "t" }}<{{ .Prompt }}>{{ end }}{{ template "t" . }}{{ .Response }}"#;
    assert_eq!(render(template, &CHAT[1..]), "<U1>A1<U2>");
}

#[test]
fn literal_text_is_preserved() {
    for text in ["  \n a  ", "a'b\"c\\d", "{ % # }", "é\t\r\n", "{{\"{{\"}}{{ `}}` }}"] {
        let shown = text.replace("{{\"{{\"}}{{ `}}` }}", "{{}}");
        assert_eq!(render(&format!("{text}{{{{ .Prompt }}}}"), &CHAT[1..2]), format!("{shown}U1"));
    }
    assert_eq!(render("a {{- /* note */ -}} b{{ .Prompt }}", &CHAT[1..2]), "abU1");
    assert_eq!(shown("a\n {{- \"\\x41\\u0042\\103\\t\" -}} \n {{ `\\n` }} b"), "aABC\t\\n b");
}

#[test]
fn unsupported_template_features_are_named() {
    for (template, what) in [
        ("{{ nosuch .Prompt }}", "`nosuch`"),
        ("a\n\n{{ .Nonsense }}", "line 3: `.Nonsense`"),
        ("{{ json .Nonsense }}", "`.Nonsense`"),
        ("{{ range .Messages }}\n{{ .Nonsense }}{{ end }}", "line 2: `.Nonsense` of a message"),
        ("{{ template \"x\" }}", "template `x`"),
        ("{{ call .Prompt }}", "`call`"),
        ("{{ printf .Prompt }}", "`printf` with a format"),
        ("{{ printf \"%d\" }}", "`printf` has no value for `%d`"),
        ("{{ printf \"a\" 1 }}", "more values"),
        ("{{ printf \"%z\" 1 }}", "`%z` of a whole number"),
        ("{{ printf \"%U\" 1 }}", "`%U`"),
        ("{{ eq 1 \"a\" }}", "`eq` of a whole number and a text"),
        ("{{ lt .Messages 1 }}", "`lt` of a list"),
        ("{{ len 1 }}", "`len` of a whole number"),
        ("{{ index .Prompt 1 }}", "`index` of a text"),
        ("{{ .Messages }}", "a list cannot be printed"),
        ("{{ . }}", "the whole data cannot be printed"),
        ("{{ range .Prompt }}{{ end }}", "`range` over a text"),
        ("{{ .Prompt.Role }}", "`.Role` of a text"),
        ("{{ eq 1 }}", "`eq` with 1 arguments"),
    ] {
        let error = Template::parse(template).unwrap().to_jinja().expect_err(template);
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{template}");
        assert!(error.to_string().contains(what), "{error}");
    }
    for damaged in [
        "{{ if .X }}",
        "{{ end }}",
        "{{ .X",
        "{{ ( }}",
        "{{ \"a }}",
        "{{ else }}",
        "{{ break }}",
        "{{ $x }}",
        "{{ $x = 1 }}",
        "{{ nil }}",
        "{{ if true }}{{ define \"a\" }}{{ end }}{{ end }}",
        "{{ range .X }}{{ else if .Y }}{{ end }}",
        "{{ $a, $b := .X }}",
        "{{ \"\\q\" }}",
        "{{ 1x }}",
    ] {
        let error = Template::parse(damaged).expect_err(damaged);
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{damaged}");
        assert!(error.to_string().contains("line 1: "), "{error}");
    }
    let jinja = "{% for m in messages %}{{ m.content }}{% endfor %}";
    assert_eq!(Template::parse(jinja).unwrap().to_jinja().unwrap(), jinja);
}

#[test]
fn errors_in_message_data_occur_at_rendering() {
    for (template, what) in [
        ("{{ (index .Messages 9).Role }}", "`index` beyond the end"),
        ("{{ len (slice .Messages 9) }}", "`slice` beyond the end"),
        ("{{ slice \"é\" 0 1 }}{{ .Messages | len }}", "not ASCII"),
        (
            "{{ range .Messages }}{{ range .ToolCalls }}{{ range .Function.Arguments.text }}{{ end }}{{ end }}{{ end }}",
            "`range` over what is no list",
        ),
    ] {
        let error = try_render(template, &with_tools()).expect_err(template);
        assert!(error.to_string().contains(what), "{error}");
    }
}

#[test]
fn nesting_up_to_the_limit_renders() {
    let blocks = |depth| {
        format!(
            "{}{{{{ .Prompt }}}}{}",
            "{{ if .Prompt }}".repeat(depth),
            "{{ end }}".repeat(depth)
        )
    };
    assert_eq!(render(&blocks(60), &CHAT[1..2]), "U1");
    let value = |depth| format!("{{{{ {}.Prompt{} }}}}", "(not ".repeat(depth), ")".repeat(depth));
    assert_eq!(render(&value(20), &CHAT[1..2]), "true");
    let pipe = |stages| format!("{{{{ .Prompt{} }}}}", " | print".repeat(stages));
    assert_eq!(render(&pipe(20), &CHAT[1..2]), "U1");
    let fields = format!("{{{{ .A{} }}}}", ".A".repeat(100_000));
    for deep in [blocks(1000), value(1000), pipe(100_000), fields] {
        let error = Template::parse(&deep).unwrap_err();
        assert!(error.to_string().contains("too deeply"), "{error}");
    }
}

proptest! {
    #[test]
    fn converted_templates_compile(
        template in concat!(
            r"(\{\{-? (if|range|with|end|else|break|\.Prompt|\.Messages|\.Role|\.Tools|\.Function|eq|and|index",
            r#"|slice|print|json|\$x|:=|"a"|1|\(|\)| )*"#,
            r" -?\}\}|x| |\n){0,8}",
        ),
    ) {
        if let Ok(jinja) = Template::parse(&template).and_then(|t| t.to_jinja()) {
            let mut environment = environment();
            prop_assert!(environment.add_template("t", &jinja).is_ok(), "{}\n{}", template, jinja);
        }
    }
}
