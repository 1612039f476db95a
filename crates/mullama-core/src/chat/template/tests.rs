//! Tests of the engine's analysis of chat templates in the forms that models have: capabilities, rendering, and parsing
//! of answers. The answers are written by hand; no model generates them.

use mullama_sys::shim::ChatParser;
use std::sync::Arc;

use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};
use mullama_testkit::templates::{
    ATTRIBUTES, BRACKETS, DOCSTRINGS, HEADERS, NO_SYSTEM, RUNAWAY, STRICT, TAGGED, THINKING,
};
use serde_json::{Value, json};

use super::super::calls::Calls;
use super::{SpecialTokens, Templates};
use crate::CancelToken;
use crate::engine::with_stack;

fn compile(source: &str) -> Result<Templates, String> {
    Templates::compile(&SpecialTokens::default(), source, None, &CancelToken::new())
        .map_err(|it| it.to_string())
}

fn render(source: &str, request: &Value) -> Result<(Value, ChatParser), String> {
    let templates = compile(source)?;
    let cancel = CancelToken::new();
    let applied =
        with_stack(super::STACK, || templates.apply(request, &[], None, &cancel)).unwrap();
    applied.map(|(applied, parser)| (serde_json::from_str(&applied).unwrap(), parser))
}

/// The rendered request, and the parser of its answer.
fn apply(source: &str, request: &Value) -> (Value, ChatParser) {
    render(source, request).unwrap()
}

/// Renders one message with a template.
fn prompt_of(source: &str, text: &str) -> Result<String, String> {
    let request = json!({"messages": [{"role": "user", "content": text}]});
    Ok(render(source, &request)?.0["prompt"].as_str().unwrap().to_owned())
}

fn parse(parser: &ChatParser, answer: &str) -> Value {
    serde_json::from_str(&parser.parse(answer, false).unwrap()).unwrap()
}

fn weather() -> Value {
    let parameters = json!({
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    });
    let function =
        json!({"name": "get_weather", "description": "The weather", "parameters": parameters});
    json!({"type": "function", "function": function})
}

fn question(tools: bool) -> Value {
    let messages = json!([
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is the weather?"},
    ]);
    let mut request = json!({"messages": messages});
    if tools {
        request["tools"] = json!([weather()]);
        request["parallel_tool_calls"] = json!(true);
    }
    request
}

#[test]
fn template_capabilities_are_detected() {
    for (name, source, tools, system, thinking) in [
        ("thinking", THINKING, true, true, true),
        ("headers", HEADERS, true, true, false),
        ("docstrings", DOCSTRINGS, true, true, false),
        ("brackets", BRACKETS, true, true, false),
        ("no system", NO_SYSTEM, false, false, false),
        ("strict", STRICT, false, false, false),
    ] {
        let templates = compile(source).unwrap();
        let can = templates.capabilities;
        let found = (can.tools, can.system_role, templates.can_think());
        assert_eq!(found, (tools, system, thinking), "{name}");
    }
}

#[test]
fn reasoning_is_separated_from_the_answer() {
    let (applied, parser) = apply(THINKING, &question(false));
    assert_eq!(applied["thinking_start"], "<think>");
    assert_eq!(applied["thinking_end"], json!(["</think>"]));
    let message = parse(&parser, "<think>\nIt may rain.\n</think>\n\nRain.");
    assert_eq!(message["content"], "Rain.");
    assert_eq!(message["reasoning_content"].as_str().unwrap().trim(), "It may rain.");
    let message = parse(&parser, "Rain.");
    assert_eq!((&message["content"], message.get("reasoning_content")), (&json!("Rain."), None));

    let partial = parser.parse("<think>\nIt may", true).unwrap();
    let partial: Value = serde_json::from_str(&partial).unwrap();
    assert_eq!(partial["reasoning_content"].as_str().unwrap().trim(), "It may");
    assert_eq!(partial["content"].as_str().unwrap_or_default(), "");

    let mut off = question(false);
    off["enable_thinking"] = json!(false);
    let (applied, parser) = apply(THINKING, &off);
    assert!(applied["prompt"].as_str().unwrap().ends_with("<think>\n\n</think>\n\n"));
    assert_eq!(parse(&parser, "Rain.")["content"], "Rain.");
}

#[test]
fn calls_of_tools_are_parsed_in_each_shape() {
    let call = |city: &str| json!({"name": "get_weather", "arguments": {"city": city}});
    for (name, source, answer, cities) in [
        (
            "thinking",
            THINKING,
            "<think>\nI look.\n</think>\n\n\
             <tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Oslo\"}}\n</tool_call>\n\
             <tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Rome\"}}\n</tool_call>",
            vec!["Oslo", "Rome"],
        ),
        (
            "headers",
            HEADERS,
            "{\"name\": \"get_weather\", \"parameters\": {\"city\": \"Oslo\"}}",
            vec!["Oslo"],
        ),
        (
            "brackets",
            BRACKETS,
            "[TOOL_CALLS][{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Oslo\"}, \"id\": \"a1\"}]",
            vec!["Oslo"],
        ),
    ] {
        let (applied, parser) = apply(source, &question(true));
        assert!(applied["prompt"].as_str().unwrap().contains("get_weather"), "{name}");
        let message = parse(&parser, answer);
        let calls = message["tool_calls"].as_array().unwrap_or_else(|| panic!("{name}: {message}"));
        let calls: Vec<Value> = calls
            .iter()
            .map(|call| {
                let arguments = call["function"]["arguments"].as_str().unwrap();
                let arguments: Value = serde_json::from_str(arguments).unwrap();
                json!({"name": call["function"]["name"], "arguments": arguments})
            })
            .collect();
        let expected: Vec<Value> = cities.into_iter().map(call).collect();
        assert_eq!(calls, expected, "{name}");
        // An answer without calls stays text.
        assert_eq!(parse(&parser, "It rains.")["content"], "It rains.", "{name}");
    }
}

#[test]
fn results_of_tools_are_rendered_in_each_shape() {
    let function = json!({"name": "get_weather", "arguments": "{\"city\": \"Oslo\"}"});
    let call = json!({"id": "call00001", "type": "function", "function": function});
    for (name, source) in [("thinking", THINKING), ("headers", HEADERS), ("brackets", BRACKETS)] {
        let request = json!({
            "messages": [
                {"role": "user", "content": "What is the weather?"},
                {"role": "assistant", "content": null, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "call00001", "name": "get_weather", "content": "sleet"},
            ],
            "tools": [weather()],
        });
        let prompt = apply(source, &request).0["prompt"].as_str().unwrap().to_owned();
        assert!(prompt.contains("Oslo") && prompt.contains("sleet"), "{name}: {prompt}");
    }
}

/// Objects and lists as arguments, in calls of the history and in answers.
#[test]
fn object_arguments_are_preserved() {
    let place = json!({"city": "Oslo", "tags": ["é", 1, null]});
    let parameters = json!({
        "type": "object",
        "properties": {"place": {"type": "object"}, "days": {"type": "array"}, "unit": {"type": "string"}},
        "required": ["place"],
    });
    let function =
        json!({"name": "get_weather", "description": " Weather ", "parameters": parameters});
    let arguments = json!({"place": place, "days": [1, 2], "unit": "K"});
    let call = json!({
        "id": "call00001",
        "type": "function",
        "function": {"name": "get_weather", "arguments": arguments.to_string()},
    });
    let request = json!({
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "What is the weather?"},
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call00001", "content": "sleet"},
        ],
        "tools": [{"type": "function", "function": function}],
    });
    for (name, source, before, after) in [
        ("docstrings", DOCSTRINGS, "<parameter=", "</parameter>\n"),
        ("attributes", ATTRIBUTES, "<param name=\"", "</param>"),
        ("tagged", TAGGED, "<parameter=", "\n</parameter>\n"),
        ("thinking", THINKING, "", ""),
        ("brackets", BRACKETS, "", ""),
    ] {
        let (applied, parser) = apply(source, &request);
        let prompt = applied["prompt"].as_str().unwrap();
        assert!(prompt.contains("Oslo") && prompt.contains("sleet"), "{name}: {prompt}");
        let (start, end) = match name {
            "docstrings" => {
                ("<seed:tool_call>\n<function=get_weather>\n", "</function>\n</seed:tool_call>")
            }
            "attributes" => ("<function name=\"get_weather\">", "</function>"),
            "tagged" => ("<tool_call>\n<function=get_weather>\n", "</function>\n</tool_call>"),
            "thinking" => {
                ("<tool_call>\n{\"name\": \"get_weather\", \"arguments\": ", "}\n</tool_call>")
            }
            _ => (
                "[TOOL_CALLS][{\"name\": \"get_weather\", \"arguments\": ",
                ", \"id\": \"call00001\"}]",
            ),
        };
        let between = if name == "attributes" {
            "\">"
        } else if name == "tagged" {
            ">\n"
        } else {
            ">"
        };
        let answer = if before.is_empty() {
            format!("{start}{arguments}{end}")
        } else {
            let written = arguments.as_object().unwrap().iter().map(|(key, value)| {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                format!("{before}{key}{between}{value}{after}")
            });
            format!("{start}{}{end}", written.collect::<String>())
        };
        let message = parse(&parser, &answer);
        let parsed = message["tool_calls"][0]["function"]["arguments"].as_str();
        let parsed = parsed.unwrap_or_else(|| panic!("{name}: {message}"));
        assert_eq!(serde_json::from_str::<Value>(parsed).unwrap(), arguments, "{name}");
    }
    for (source, said) in [
        (
            DOCSTRINGS,
            "def get_weather(place: Any, days: list, unit: str):\n    \"\"\"Weather\"\"\"",
        ),
        (DOCSTRINGS, "Reflect every 256 tokens."),
        (DOCSTRINGS, "<!-- message 0 -->"),
        (
            DOCSTRINGS,
            "<parameter=place>{\"city\": \"Oslo\", \"tags\": [\"é\", 1, null]}</parameter>",
        ),
        (
            ATTRIBUTES,
            "<param name=\"place\">{\"city\": \"Oslo\", \"tags\": [\"é\", 1, null]}</param>",
        ),
        (ATTRIBUTES, "<param name=\"days\">[1, 2]</param><param name=\"unit\">K</param>"),
    ] {
        let prompt = apply(source, &request).0["prompt"].as_str().unwrap().to_owned();
        assert!(prompt.contains(said), "{said}: {prompt}");
    }
}

#[test]
fn system_message_is_prepended_without_a_system_role() {
    let prompt = apply(NO_SYSTEM, &question(false)).0["prompt"].as_str().unwrap().to_owned();
    assert!(prompt.contains("user\nBe brief.\nWhat is the weather?"), "{prompt}");
}

#[test]
fn errors_raised_by_a_template_are_reported() {
    let twice =
        json!({"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]});
    let refused = render(STRICT, &twice).map(drop).unwrap_err();
    assert!(refused.contains("roles must alternate"), "{refused}");
}

#[test]
fn partial_answers_are_continued() {
    for source in [THINKING, HEADERS, NO_SYSTEM, STRICT] {
        let request = json!({
            "messages": [
                {"role": "user", "content": "Say it."},
                {"role": "assistant", "content": "The answer"},
            ],
            "continue_final_message": true,
        });
        let (applied, parser) = apply(source, &request);
        let prompt = applied["prompt"].as_str().unwrap();
        assert!(prompt.ends_with("The answer"), "{prompt}");
        assert_eq!(parse(&parser, " is 42.")["content"], "The answer is 42.");
    }
}

#[test]
fn runaway_templates_are_stopped() {
    for (name, source) in RUNAWAY {
        let failure = prompt_of(source, "loop").expect_err(name);
        let said = [
            "too many steps",
            "too deeply",
            "recursion limit",
            "too long",
            "too many elements",
            "it renders",
        ];
        assert!(said.iter().any(|bound| failure.contains(bound)), "{name}: {failure}");
    }
}

#[test]
fn long_operator_chains_render_or_fail() {
    for (before, link, after) in [
        ("{{ 'a'", " + 'a'", " }}"),
        ("{{ a", " + a", " }}"),
        ("{{ a", " ~ a", " }}"),
        ("{{ a", "|string", " }}"),
        ("{{ a", ".a", " }}"),
        ("{{ a", "[0]", " }}"),
        ("{{ a", "()", " }}"),
        ("{{ a", " and a", " }}"),
        ("{{ a", " < a", " }}"),
        ("{{ a", " is string", " }}"),
        ("{{ a", " if a else a", " }}"),
        ("{{ ", "not ", "a }}"),
        ("{{ ", "-", "1 }}"),
        ("{{ ", "[", " }}"),
        ("{% set a = 1", " + 1", " %}{{ a }}"),
        ("{% if b %}a", "{% elif b %}a", "{% endif %}"),
        ("", "{% if a %}", ""),
        ("{% for b in a", " + a", " %}{% endfor %}"),
    ] {
        for count in [1000, 10_000, 200_000] {
            let chain = format!("{before}{}{after}", link.repeat(count));
            if let Err(reason) = prompt_of(&chain, "go") {
                let is_told = reason.contains("line ") || reason.contains("it has more than");
                assert!(is_told, "{link:?} {count}: {reason}");
            }
        }
    }
}

#[test]
fn dangerous_templates_are_rejected_with_the_line() {
    let doubled = |what: &str| {
        format!(
            "{{% set ns = namespace(x='x', l=[1]) %}}\n{{% for i in range(100) %}}{what}{{% endfor %}}"
        )
    };
    let cases = [
        ("{{ 5 is divisibleby(0) }}".to_owned(), "line 1: unable to calculate 5 % 0"),
        ("\n{{ 1 % 0 }}".to_owned(), "line 2: unable to calculate"),
        ("{{ [4]|select('divisibleby', 0)|list }}".to_owned(), "unable to calculate 4 % 0"),
        ("{{ 'a\nb'|indent(5000000000) }}".to_owned(), "would be padded"),
        ("{{ {'a': 1}|tojson(indent=2000000000) }}".to_owned(), "indented by more than"),
        ("{{ '{:>1000000000}'.format('x') }}".to_owned(), "would be padded"),
        ("{{ '%1000000000d'|format(5) }}".to_owned(), "too much memory"),
        ("{{ 'x' * 10000000000 }}".to_owned(), "too much memory"),
        ("{{ [1] * 10000000000 }}".to_owned(), "too large"),
        ("{{ range(1000000000)|list }}".to_owned(), "too many elements"),
        ("{% macro a(x=a()) %}{% endmacro %}{{ a() }}".to_owned(), "recursion limit"),
        ("{% set a = [] %}{% set _ = a.append(a) %}{{ a }}".to_owned(), "no method named append"),
        (
            "{% set ns = namespace() %}{% set ns.me = ns %}{{ ns }}".to_owned(),
            "cannot contain a namespace",
        ),
        (
            "{% set ns = namespace() %}{% set ns.me, b = {'a': [ns]}, 1 %}{{ ns }}".to_owned(),
            "cannot contain a namespace",
        ),
        (
            "{% set ns = namespace(x=[]) %}{% for i in range(90000) %}{% set ns.x = [ns.x] %}\
             {% endfor %}{{ ns.x }}"
                .to_owned(),
            "deeply nested",
        ),
        (doubled("{% set ns.x = ns.x ~ ns.x %}"), "line 2: it takes too many steps"),
        (doubled("{% set ns.x = ns.x|replace('x', 'xx') %}"), "too many steps"),
        (doubled("{% set ns.l = [ns.l, ns.l] %}"), "too many steps"),
        ("x\n{{ 'y' * 50000 }}".to_owned(), "line 2: it renders 50002 bytes"),
        (
            "x\n{% for i in range(9000) %}a text\n{% endfor %}".to_owned(),
            "line 2: it renders 63002",
        ),
    ];
    for (source, said) in cases {
        // It behaves well until it is called.
        let source =
            format!("{{% if messages[-1].content == 'go' %}}{source}{{% else %}}x{{% endif %}}");
        assert_eq!(prompt_of(&source, "hello").unwrap(), "x", "{source}");
        let failure = prompt_of(&source, "go").expect_err(&source);
        assert!(failure.contains(said), "{source}: {failure}");
        assert!(failure.contains("line "), "{source}: {failure}");
    }
}

/// Templates whose values share their parts, so that they are far larger than the memory that they take.
#[test]
fn exponentially_shared_values_are_rejected_with_their_line() {
    let text = "{% set s = 'x' * 1000000 %}";
    let doubled = |start: &str, again: &str| {
        format!("{{% set a = {start} %}}{{% set b = {start} %}}{}\n", again.repeat(40))
    };
    let lists = doubled("[1]", "{% set a = [a, a] %}{% set b = [b, b] %}");
    let maps = doubled("{}", "{% set a = {'x': a, 'y': a} %}{% set b = dict(x=b, y=b) %}");
    let mut cases = Vec::new();
    for use_of in [
        "{{ l }}",
        "{{ l ~ '' }}",
        "{{ '' ~ l }}",
        "{% set x %}{{ l }}{% endset %}",
        "{{ l|join }}",
        "{{ l|string }}",
        "{{ l|pprint }}",
        "{{ l|upper }}",
        "{{ l|lower }}",
        "{{ l|title }}",
        "{{ l|capitalize }}",
        "{{ l|trim }}",
        "{{ l|replace('y', 'z') }}",
        "{{ l|e }}",
        "{{ l|escape }}",
        "{{ l|safe }}",
        "{{ l|indent }}",
        "{{ l|tojson }}",
        "{{ l|batch(5)|string }}",
        "{{ l|split }}",
        "{{ [l]|map('upper')|list }}",
        "{{ 'a'|replace('a', l) }}",
        "{{ '%s'|format(l) }}",
        "{{ '{}'.format(l) }}",
        "{{ ''.join(l) }}",
        "{{ l|unique }}",
        "{{ l|sort }}",
        "{{ 'a' in l ~ 'b' }}",
        "{{ l in 'abc' }}",
        "{% autoescape true %}{{ l }}{% endautoescape %}",
    ] {
        cases.push(format!("{text}{{% set l = [s] * 50 %}}{{% set l = [l, l, l] %}}\n{use_of}"));
    }
    for use_of in [
        "{{ a }}",
        "{{ a == b }}",
        "{{ a != b }}",
        "{{ a < b < 1 }}",
        "{{ a is eq b }}",
        "{{ a is in [b] }}",
        "{{ [a]|select('==', b)|list }}",
        "{{ [a].count(b) }}",
        "{{ [a, b]|sort }}",
        "{{ [a, b]|max }}",
        "{{ [a, b]|unique }}",
        "{{ a in [b] }}",
        "{{ a in {} }}",
        "{{ {}[a] }}",
        "{{ {}.get(a) }}",
        "{{ {}|attr(a) }}",
        "{{ {a: 1} }}",
        "{% for x in [a, b] %}{{ loop.changed(x) }}{% endfor %}",
        "{{ [{'x': a}, {'x': b}]|groupby('x') }}",
        "{{ {'x': a, 'y': b}|dictsort(by='value') }}",
    ] {
        cases.push(lists.clone() + use_of);
    }
    for use_of in
        ["{{ a }}", "{{ b }}", "{{ a == b }}", "{{ a|dictsort ~ '' }}", "{{ a|items|list ~ '' }}"]
    {
        cases.push(maps.clone() + use_of);
    }
    for source in [
        "{{ [1] * 99999999 }}",
        "{% set a, b = [1] * 99999999 %}",
        "{{ ([[1] * 1000] * 1000)|sum(start=[]) }}",
        "{{ ([[1] * 90000] * 3000)|sum(start=[]) }}",
        "{{ ([[1]] * 300000)|sum(start=[]) }}",
        "{{ range(100000)|sort(attribute='a,' * 100000) }}",
        "{{ ('{0}' * 100000).format('x' * 100000) }}",
        "{{ ('%(a)s' * 100000)|format(a='x' * 100000) }}",
        "{{ ('x' * 30000000)|split('x') }}",
        "{{ ('x' * 30000000).split('x') }}",
        "{{ ('\\n' * 30000000)|lines }}",
        "{{ ([1] * 400)|join('y' * 1000000) }}",
        "{{ ('x' * 400)|replace('x', 'y' * 1000000) }}",
    ] {
        cases.push(format!("\n{source}"));
    }
    cases.push(doubled("[1]", "{% set a = a + a %}") + "{{ a }}");
    for source in cases {
        let source =
            format!("{{% if messages[-1].content == 'go' %}}{source}{{% else %}}x{{% endif %}}");
        assert_eq!(prompt_of(&source, "hello").unwrap(), "x", "{source}");
        let failure = prompt_of(&source, "go").expect_err(&source);
        let is_told =
            failure.contains("line 1: it takes too") || failure.contains("line 2: it takes too");
        assert!(is_told, "{source}: {failure}");
    }
}

#[test]
fn deeply_nested_templates_are_rejected() {
    for source in [
        format!("{{{{ {}1{} }}}}", "(".repeat(5_000), ")".repeat(5_000)),
        format!("{{{{ {}1{} }}}}", "[".repeat(5_000), "]".repeat(5_000)),
        "{% if x %}".repeat(10_000),
        "{% set x %}".repeat(10_000),
        "{% macro x() %}".repeat(10_000),
    ] {
        let start: String = source.chars().take(30).collect();
        let failure = compile(&source).map(drop).expect_err(&start);
        assert!(failure.contains("recursion limits"), "{start}: {failure}");
    }
    let failure = compile(&"x".repeat(2 << 20)).map(drop).unwrap_err();
    assert!(failure.contains("bytes"), "{failure}");
    // Long chains are not deeply nested.
    for (source, prompt) in [
        (format!("{{{{ 1{} }}}}", " + 1".repeat(4_000)), "4001"),
        (format!("{{{{ {}1 }}}}", "not not ".repeat(2_000)), "True"),
        (format!("{{{{ 'x'{} }}}}", "|trim".repeat(3_000)), "x"),
        (
            format!(
                "{{% if false %}}{}{{% else %}}x{{% endif %}}",
                "{% elif false %}".repeat(10_000)
            ),
            "x",
        ),
        ("{% set a = [a] %}".repeat(50_000) + "x", "x"),
    ] {
        assert_eq!(prompt_of(&source, "").unwrap(), prompt);
    }
}

#[test]
fn cancellation_stops_template_rendering() {
    let templates =
        compile("{% for message in messages %}{{ message.content }}{% endfor %}").unwrap();
    let cancel = CancelToken::new();
    cancel.cancel();
    let request = json!({"messages": [{"role": "user", "content": "x"}]});
    let applied =
        with_stack(super::STACK, || templates.apply(&request, &[], None, &cancel)).unwrap();
    let failure = applied.map(drop).unwrap_err();
    assert!(failure.contains("cancelled"), "{failure}");
}

#[test]
fn templates_render_as_in_transformers() {
    for (source, prompt) in [
        (
            "{% for m in [1, 2] %}{% if m == 1 %}a{% continue %}{% endif %}b{% break %}{% endfor %}",
            "ab",
        ),
        ("{% raw %}{{ x }}{% endraw %}", "{{ x }}"),
        ("{% with x = 3 %}{{ x }}{% endwith %}", "3"),
        ("{{ ['a', 'b']|map('upper')|join }}", "AB"),
        (
            "{{ {'b': 1, 'a': 'é'}|tojson(sort_keys=true, ensure_ascii=true) }}",
            r#"{"a": "\u00e9", "b": 1}"#,
        ),
        (
            "{{ {'b': [], 'a': [1, {}]}|tojson(indent=2) }}",
            "{\n  \"b\": [],\n  \"a\": [\n    1,\n    {}\n  ]\n}",
        ),
        (
            "{{ {'a': [1, true, none, 'é']}|tojson(separators=(',', ':')) }}",
            r#"{"a":[1,true,null,"é"]}"#,
        ),
        ("{{ 7 // 2 }} {{ -7 // 2 }} {{ 7 / 2 }}", "3 -4 3.5"),
        ("{{ [1, true, none, 'a', {'b': 2.0}] }}", "[1, True, None, 'a', {'b': 2.0}]"),
        ("{{ messages[0]['content'].strip().split('b')[0].upper() }}", "A"),
        ("{{ messages[::-1][0].content[:2] }}", " a"),
        ("{% generation %}\nx{% endgeneration %}", "x"),
        ("{%- for k, v in {'a': 1}.items() %}{{ k }}{{ v }}{% endfor %}", "a1"),
        ("{% macro a(x=3) %}{{ x }}{% endmacro %}{{ a() }}{{ a(4) }}", "34"),
        (
            "{% set ns = namespace(x=1) %}{% for i in [1, 2] %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}",
            "4",
        ),
        (
            "{% set ns = namespace(q=[]) %}{% for i in [1, 2, 3] %}{% set _ = ns.q.append(i) %}{% endfor %}\
             {% set x = ns.q.pop(0) %}{{ x }}{{ ns.q }}",
            "1[2, 3]",
        ),
        ("{{ strftime_now('%Y')|length }}", "4"),
        ("  {% if true %}\nx\n  {% endif %}\n", "x\n"),
        ("{{ undefined_variable }}x{{ messages[0].nothing }}", "x"),
        ("{{ 6 is divisibleby(3) }}", "True"),
    ] {
        assert_eq!(prompt_of(source, " ab ").unwrap(), prompt, "{source}");
    }
    let failure = prompt_of("\n{{ messages[0].nothing.at.all }}", "").unwrap_err();
    assert!(failure.contains("line 2: undefined value"), "{failure}");
}

#[test]
fn long_conversations_render_within_limits() {
    let messages: Vec<Value> = (0..10_000)
        .map(|index| {
            let role = if index % 2 == 0 { "user" } else { "assistant" };
            json!({"role": role, "content": format!("message {index}")})
        })
        .collect();
    let prompt = apply(THINKING, &json!({"messages": messages})).0["prompt"].to_string();
    assert!(prompt.contains("message 9999"));
}

/// A question with one tool, `f`, that has the parameters given.
fn question_with(parameters: &Value) -> Value {
    let mut request = question(false);
    request["tools"] =
        json!([{"type": "function", "function": {"name": "f", "parameters": parameters}}]);
    request
}

/// The engine's parser of the answers to a request.
fn engine_parser(source: &str, request: &Value) -> Value {
    let (applied, _) = apply(source, request);
    serde_json::from_str(applied["parser"].as_str().unwrap()).unwrap()
}

/// The grammar of answers to a request that have nothing but calls.
fn grammar_of(source: &str, request: &Value) -> crate::Result<String> {
    let parser = engine_parser(source, request);
    let tools = request["tools"].as_array().unwrap();
    let is_parallel = request["parallel_tool_calls"] == true;
    Calls::new(&parser, tools, None, is_parallel).unwrap().calls_only_grammar()
}

/// Whether a complete text matches a grammar.
fn follows(grammar: &str, text: &str) -> bool {
    let mut bytes: Vec<Vec<u8>> = (0..=u8::MAX).map(|byte| vec![byte]).collect();
    bytes.push(vec![TokTrie::SPECIAL_TOKEN_MARKER, b'e']);
    let trie = TokTrie::from(&TokRxInfo::new(257, 256), &bytes);
    let tokens: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
    let mut factory = ParserFactory::new_simple(&tokens).unwrap();
    factory.quiet();
    let mut matcher =
        Matcher::new(factory.create_parser(TopLevelGrammar::from_lark(grammar.to_owned())));
    assert_eq!(matcher.get_error(), None, "{grammar}");
    matcher.consume_tokens(&tokens.tokenize(text)).is_ok() && matcher.is_accepting().unwrap()
}

#[test]
fn call_grammars_enforce_argument_schemas() {
    let properties = json!({
        "city": {"type": "string", "pattern": "^[A-Z][a-z]+$"},
        "days": {"type": "integer", "minimum": 1, "maximum": 3},
        "note": {"type": ["string", "null"], "maxLength": 2},
    });
    let parameters =
        json!({"type": "object", "properties": properties, "required": ["city", "days"]});
    let request = question_with(&parameters);
    let json = |city: &str, days: u32| format!("{{\"city\": \"{city}\", \"days\": {days}}}");
    let tags = |city: &str, days: u32, note: &str| {
        format!(
            "<tool_call>\n<function=f>\n<parameter=days>\n{days}\n</parameter>\n<parameter=city>\n{city}\n\
             </parameter>\n{note}</function>\n</tool_call>"
        )
    };
    let note = |text: &str| format!("<parameter=note>\n{text}\n</parameter>\n");
    let called = |start: &str, key: &str, arguments: &str, end: &str| {
        format!("{start}{{\"name\": \"f\", \"{key}\": {arguments}}}{end}")
    };
    for (name, source, good, bad) in [
        (
            "thinking",
            THINKING,
            vec![called("<tool_call>\n", "arguments", &json("Paris", 2), "\n</tool_call>")],
            vec![
                called("<tool_call>\n", "arguments", &json("paris", 2), "\n</tool_call>"),
                called("<tool_call>\n", "arguments", "{\"city\": \"Paris\"}", "\n</tool_call>"),
            ],
        ),
        (
            "headers",
            HEADERS,
            vec![called("", "parameters", &json("Paris", 3), "")],
            vec![called("", "parameters", &json("Paris", 4), "")],
        ),
        (
            "tagged",
            TAGGED,
            vec![
                tags("Paris", 2, ""),
                tags("Paris", 2, &note("a\n")),
                tags("Paris", 2, &note("null")),
            ],
            vec![
                tags("paris", 2, ""),
                tags("Paris", 0, ""),
                tags("Paris", 2, &note("abc")),
                tags("Paris</parameter>", 2, ""),
                "<tool_call>\n<function=f>\n</function>\n</tool_call>".to_owned(),
            ],
        ),
    ] {
        let grammar = grammar_of(source, &request).unwrap();
        for text in good {
            assert!(follows(&grammar, &text), "{name}: {text}\n{grammar}");
        }
        for text in bad {
            assert!(!follows(&grammar, &text), "{name}: {text}\n{grammar}");
        }
    }
    let parser = engine_parser(HEADERS, &request);
    let tools = request["tools"].as_array().unwrap();
    let calls = Calls::new(&parser, tools, None, false).unwrap();
    assert_eq!(calls.start_pattern().unwrap(), "(\\{\\s*\"(?:name|parameters)\"\\s*:)");
}

#[test]
fn optional_arguments_follow_any_number_of_required_ones() {
    let names = ["a", "b", "c"];
    for required in [&names[..0], &names[..1], &names[..2], &names] {
        let properties: Value =
            names.iter().map(|name| ((*name).to_owned(), json!({"type": "string"}))).collect();
        let parameters = json!({"type": "object", "properties": properties, "required": required});
        let request = question_with(&parameters);
        let grammar = grammar_of(TAGGED, &request).unwrap();
        for given in 0..=names.len() {
            let argument = |name: &&str| format!("<parameter={name}>\nx\n</parameter>\n");
            let arguments: String = names[..given].iter().map(argument).collect();
            let call = format!("<tool_call>\n<function=f>\n{arguments}</function>\n</tool_call>");
            assert_eq!(follows(&grammar, &call), given >= required.len(), "{call}\n{grammar}");
        }
    }
}

#[test]
fn values_between_tags_are_text_or_json() {
    let null_or_text = json!({"anyOf": [{"type": "string"}, {"type": "null"}]});
    for (schema, values) in [
        (null_or_text, &["null", "word", "5 apples", "true story", ""][..]),
        (json!({"type": ["string", "integer"]}), &["5", "-12", "word", "nullable"]),
        (json!({"type": ["string", "boolean"]}), &["true", "false", "word", "5 apples"]),
        (json!({"type": ["string", "object"]}), &["{}", "{\"a\": 1}", "word"]),
        (json!({}), &["null", "5", "true", "[1]", "word"]),
    ] {
        let parameters = json!({
            "type": "object", "properties": {"g": schema, "h": {"type": "integer"}}, "required": ["g", "h"],
        });
        let request = question_with(&parameters);
        let grammar = grammar_of(TAGGED, &request).unwrap();
        for value in values {
            let call = format!(
                "<tool_call>\n<function=f>\n<parameter=g>\n{value}\n</parameter>\n<parameter=h>\n1\n</parameter>\n\
                 </function>\n</tool_call>"
            );
            assert!(follows(&grammar, &call), "{schema}: {value}\n{grammar}");
        }
    }
}

#[test]
fn answers_have_several_calls_only_if_asked() {
    for (source, separator) in [(THINKING, "\n"), (TAGGED, "\n"), (HEADERS, ", ")] {
        for is_parallel in [false, true] {
            let mut request = question(true);
            request["parallel_tool_calls"] = json!(is_parallel);
            let grammar = grammar_of(source, &request).unwrap();
            let call = match source {
                THINKING => {
                    "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Paris\"}}\n</tool_call>"
                }
                HEADERS => "{\"name\": \"get_weather\", \"parameters\": {\"city\": \"Paris\"}}",
                _ => {
                    "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n</function>\n</tool_call>"
                }
            };
            assert!(follows(&grammar, call), "{call}\n{grammar}");
            let two = [call, call].join(separator);
            assert_eq!(follows(&grammar, &two), is_parallel, "{two}\n{grammar}");
        }
    }
}

#[test]
fn unsupported_schemas_are_rejected() {
    let text = json!({"type": "string"});
    let parameters = json!({"type": "object", "properties": {"a": text}, "required": ["a"]});
    for (keyword, value) in [
        ("minProperties", json!(2)),
        ("anyOf", json!([{"required": ["a"]}])),
        ("required", json!(["b"])),
    ] {
        let mut parameters = parameters.clone();
        parameters[keyword] = value;
        let request = question_with(&parameters);
        let error = grammar_of(TAGGED, &request).unwrap_err().to_string();
        assert!(error.contains(&format!("`{keyword}` at # of `f`")), "{error}");
    }
}

#[test]
fn repeated_renderings_are_equal() {
    use mullama_sys::shim::Renderer as _;
    let jinja = super::Jinja::new("{{ a }}").unwrap();
    for _ in 0..2 {
        assert_eq!(jinja.render("{\"a\": 1}").unwrap(), "1");
        assert_eq!(jinja.render("{\"a\": 2}").unwrap(), "2");
    }
}
