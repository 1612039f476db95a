//! What the engine makes of chat templates in the shapes that models carry: what they can do, how they
//! render, and how answers are parsed. The answers are written here; no model says them.

use std::ffi::CString;

use mullama_sys::shim::{ChatParser, ChatTemplates};
use mullama_testkit::templates::{BRACKETS, HEADERS, NO_SYSTEM, RUNAWAY, STRICT, THINKING};
use serde_json::{Value, json};

fn compile(source: &str) -> Result<ChatTemplates, String> {
    let source = CString::new(source).unwrap();
    // SAFETY: the model is not looked at where the source is given.
    unsafe { ChatTemplates::new(std::ptr::null(), Some(&source)) }
}

fn describe(source: &str) -> Value {
    serde_json::from_str(&compile(source).unwrap().describe().unwrap()).unwrap()
}

/// The rendered request, and the parser of its answer.
fn apply(source: &str, request: &Value) -> (Value, ChatParser) {
    let (applied, parser) = compile(source).unwrap().apply(&request.to_string()).unwrap();
    (serde_json::from_str(&applied).unwrap(), parser)
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
fn what_templates_can_do_is_found_out() {
    for (name, source, tools, system, thinking) in [
        ("thinking", THINKING, true, true, true),
        ("headers", HEADERS, true, true, false),
        ("brackets", BRACKETS, true, true, false),
        ("no system", NO_SYSTEM, false, false, false),
        ("strict", STRICT, false, false, false),
    ] {
        let described = describe(source);
        let found = (
            &described["caps"]["supports_tools"],
            &described["caps"]["supports_system_role"],
            &described["thinking"],
        );
        assert_eq!(found, (&json!(tools), &json!(system), &json!(thinking)), "{name}");
    }
}

#[test]
fn reasoning_is_told_from_the_answer() {
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
        // An answer without calls stays one.
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

#[test]
fn a_system_message_goes_where_there_is_a_place_for_it() {
    let prompt = apply(NO_SYSTEM, &question(false)).0["prompt"].as_str().unwrap().to_owned();
    assert!(prompt.contains("user\nBe brief.\nWhat is the weather?"), "{prompt}");
}

#[test]
fn what_a_template_raises_is_said() {
    let twice =
        json!({"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]});
    let refused = compile(STRICT).unwrap().apply(&twice.to_string()).unwrap_err();
    assert!(refused.contains("roles must alternate"), "{refused}");
}

#[test]
fn an_answer_goes_on_from_its_beginning() {
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
fn templates_that_run_away_are_stopped() {
    for (name, source) in RUNAWAY {
        let hello = json!({"messages": [{"role": "user", "content": "loop"}]});
        let failure = match compile(source) {
            Err(failure) => failure,
            Ok(templates) => templates.apply(&hello.to_string()).map(drop).expect_err(name),
        };
        let said = ["rounds of its loops", "items", "pieces", "too deeply", "seconds"];
        assert!(said.iter().any(|bound| failure.contains(bound)), "{name}: {failure}");
    }
}

#[test]
fn arguments_that_would_end_the_process_are_refused() {
    let outcome = |source: &str| {
        let hello = json!({"messages": [{"role": "user", "content": "hello"}]});
        compile(source).and_then(|templates| templates.apply(&hello.to_string()).map(|it| it.0))
    };
    for (source, said) in [
        ("{{ 5 is divisibleby(0) }}", "divisible by 0"),
        ("{{ (-9223372036854775807 - 1) is divisibleby(-1) }}", "divisible by -1"),
        ("{{ [4]|select('divisibleby', 0)|list }}", "divisible by 0"),
        ("{% set t = 'divisibleby' %}{{ [4]|reject(t, 0)|list }}", "divisible by 0"),
        ("{{ 'a'|indent(5000000000) }}", "indents"),
        ("{{ 'a'|indent(width=5000000000) }}", "indents"),
        ("{{ {'a': 1}|tojson(indent=2000000000) }}", "indents"),
        ("{% macro a(x=a()) %}{% endmacro %}{{ a() }}", "too deeply"),
        ("{% set a = [] %}{% set _ = a.append(a) %}{{ a }}", "holds itself"),
        ("{% set a = [] %}{% set b = [a] %}{% set _ = a.append(b) %}{{ a }}", "holds itself"),
        ("{% set ns = namespace() %}{% set ns.me = ns %}{{ ns }}", "holds itself"),
        (
            "{% set ns = namespace(x=[]) %}{% for i in range(100000) %}{% set ns.x = [ns.x] %}\
             {% endfor %}{{ ns.x }}",
            "nested too deeply",
        ),
    ] {
        let failure = outcome(source).map(drop).expect_err(source);
        assert!(failure.contains(said), "{source}: {failure}");
    }
    for (source, prompt) in [
        ("{{ 6 is divisibleby(3) }}", "True"),
        ("{% set a = [] %}{% set _ = a.append([1, {'b': 2}]) %}{{ a[0][1].b }}", "2"),
        ("{% set ns = namespace(x=1) %}{% set ns.x = [ns.x] %}{{ ns.x[0] }}", "1"),
        ("{{ [4, 3]|select('divisibleby', 2)|first }}", "4"),
        ("{{ [4, 0]|select('equalto', 0)|first }}", "0"),
        ("{{ {'a': 1}|tojson(indent=2) }}", "{\n  \"a\": 1\n}"),
        ("{% macro a(x=3) %}{{ x }}{% endmacro %}{{ a() }}{{ a(4) }}", "34"),
    ] {
        let applied: Value = serde_json::from_str(&outcome(source).unwrap()).unwrap();
        assert_eq!(applied["prompt"], prompt, "{source}");
    }
}

#[test]
fn templates_that_are_nested_without_end_are_refused() {
    for (source, said) in [
        (format!("{{{{ {}1{} }}}}", "(".repeat(100_000), ")".repeat(100_000)), "nested"),
        (format!("{{{{ 1{} }}}}", " + 1".repeat(100_000)), "operators"),
        (format!("{{{{ {}1 }}}}", "not ".repeat(100_000)), "operators"),
        (format!("{{{{ {}1 }}}}", "-".repeat(100_000)), "operators"),
        ("{% if x %}".repeat(100_000), "nested"),
        (format!("{{% if x %}}{}", "{% elif x %}".repeat(100_000)), "nested"),
        ("{% set x %}".repeat(100_000), "nested"),
        ("{% macro x() %}".repeat(100_000), "nested"),
        (format!("{{{{ x{} }}}}", "|trim".repeat(100_000)), "operators"),
        (format!("{{{{ {}1{} }}}}", "[".repeat(100_000), "]".repeat(100_000)), "nested"),
    ] {
        let start: String = source.chars().take(30).collect();
        let failure = compile(&source).map(drop).expect_err(&start);
        assert!(failure.contains(said), "{start}: {failure}");
    }
}

#[test]
fn the_deepest_template_fits_the_stack() {
    // As deep as may be, and it calls itself at the bottom; threads of tests have 2 MiB.
    let (brackets, sums) = ("(".repeat(98), " + 1".repeat(190));
    let call = format!("{{{{ {brackets}again(){}{sums} }}}}", ")".repeat(98));
    let blocks = "{% if true %}".repeat(95);
    let body = format!("{blocks}{call}{}", "{% endif %}".repeat(95));
    let source = format!("{{% macro again() %}}{body}{{% endmacro %}}{{{{ again() }}}}");
    let failure = compile(&source).map(drop).expect_err("it has no end");
    assert!(failure.contains("too deeply"), "{failure}");
}

#[test]
fn a_long_conversation_is_no_runaway() {
    let messages: Vec<Value> = (0..10_000)
        .map(|index| {
            let role = if index % 2 == 0 { "user" } else { "assistant" };
            json!({"role": role, "content": format!("message {index}")})
        })
        .collect();
    let prompt = apply(THINKING, &json!({"messages": messages})).0["prompt"].to_string();
    assert!(prompt.contains("message 9999"));
}
