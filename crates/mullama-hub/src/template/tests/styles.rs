//! Templates in the styles of the models that Ollama's library has, written for these tests. The expected texts are
//! those of Go's `text/template`.

use super::*;

/// Renders the chat of the other tests: a system message, a question, its answer, and a question.
fn of_chat(template: &str) -> String {
    render(template, &CHAT)
}

/// A system message, a question, a call and its result.
fn call() -> serde_json::Value {
    let arguments = json!({"city": "Paris"});
    json!({
        "messages": [
            {"role": "system", "content": "S"},
            {"role": "user", "content": "U"},
            {"role": "assistant", "content": "", "tool_calls": [
                {"type": "function", "id": "c1", "function": {"name": "get_weather", "arguments": arguments}},
            ]},
            {"role": "tool", "tool_call_id": "c1", "name": "get_weather", "content": "sun"},
        ],
        "tools": [{"type": "function", "function": {
            "name": "get_weather",
            "description": "Weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        }}],
        "add_generation_prompt": true,
    })
}

/// The tool as Ollama writes it.
const TOOL: &str = concat!(
    r#"{"type":"function","function":{"name":"get_weather","description":"Weather","parameters":"#,
    r#"{"type":"object","required":["city"],"properties":{"city":{"type":"string"}}}}}"#,
);

fn of_call(template: &str) -> String {
    render_data(template, &call())
}

#[test]
fn styles_of_turns() {
    for (name, template, expected) in [
        (
            "ChatML",
            "{{ if .System }}<|im_start|>system\n{{ .System }}<|im_end|>\n{{ end }}{{ if .Prompt }}<|im_start|>user\n\
             {{ .Prompt }}<|im_end|>\n{{ end }}<|im_start|>assistant\n{{ .Response }}<|im_end|>\n",
            "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU1<|im_end|>\n<|im_start|>assistant\nA1<|im_end|>\n\
             <|im_start|>user\nU2<|im_end|>\n<|im_start|>assistant\n",
        ),
        (
            "Llama 2",
            "[INST] {{ if .System }}<<SYS>>\n{{ .System }}\n<</SYS>>\n\n{{ end }}{{ .Prompt }} [/INST] {{ .Response }}</s>",
            "[INST] <<SYS>>\nS\n<</SYS>>\n\nU1 [/INST] A1</s>[INST] U2 [/INST] ",
        ),
        (
            "Llama 3",
            "{{ if .System }}<|start_header_id|>system<|end_header_id|>\n\n{{ .System }}<|eot_id|>{{ end }}\
             {{ if .Prompt }}<|start_header_id|>user<|end_header_id|>\n\n{{ .Prompt }}<|eot_id|>{{ end }}\
             <|start_header_id|>assistant<|end_header_id|>\n\n{{ .Response }}<|eot_id|>",
            "<|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nU1\
             <|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nA1<|eot_id|>\
             <|start_header_id|>user<|end_header_id|>\n\nU2<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        ),
        (
            "Gemma",
            "<start_of_turn>user\n{{ if .System }}{{ .System }}\n\n{{ end }}{{ .Prompt }}<end_of_turn>\n\
             <start_of_turn>model\n{{ .Response }}<end_of_turn>\n",
            "<start_of_turn>user\nS\n\nU1<end_of_turn>\n<start_of_turn>model\nA1<end_of_turn>\n\
             <start_of_turn>user\nU2<end_of_turn>\n<start_of_turn>model\n",
        ),
        (
            "Phi 3",
            "{{ if .System }}<|system|>\n{{ .System }}<|end|>\n{{ end }}{{ if .Prompt }}<|user|>\n{{ .Prompt }}<|end|>\n\
             {{ end }}<|assistant|>\n{{ .Response }}<|end|>\n",
            "<|system|>\nS<|end|>\n<|user|>\nU1<|end|>\n<|assistant|>\nA1<|end|>\n<|user|>\nU2<|end|>\n<|assistant|>\n",
        ),
        (
            "Command R",
            "{{ if .System }}<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>{{ .System }}<|END_OF_TURN_TOKEN|>{{ end }}\
             {{ if .Prompt }}<|START_OF_TURN_TOKEN|><|USER_TOKEN|>{{ .Prompt }}<|END_OF_TURN_TOKEN|>{{ end }}\
             <|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>{{ .Response }}<|END_OF_TURN_TOKEN|>",
            "<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>S<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|USER_TOKEN|>U1\
             <|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>A1<|END_OF_TURN_TOKEN|>\
             <|START_OF_TURN_TOKEN|><|USER_TOKEN|>U2<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
        ),
        (
            "DeepSeek Coder",
            "{{ .System }}\n### Instruction:\n{{ .Prompt }}\n### Response:\n{{ .Response }}\n<|EOT|>\n",
            "S\n### Instruction:\nU1\n### Response:\nA1\n<|EOT|>\n\n### Instruction:\nU2\n### Response:\n",
        ),
        (
            "Vicuna",
            "{{ .System }}\nUSER: {{ .Prompt }}\nASSISTANT: {{ .Response }}</s>",
            "S\nUSER: U1\nASSISTANT: A1</s>\nUSER: U2\nASSISTANT: ",
        ),
        (
            "Alpaca",
            "{{- if .System }}{{ .System }}\n\n{{ end }}\n{{- if .Prompt }}### Instruction:\n{{ .Prompt }}\n\n{{ end -}}\n\n\
             ### Response:\n{{ .Response }}\n\n",
            "S\n\n### Instruction:\nU1\n\n### Response:\nA1\n\n### Instruction:\nU2\n\n### Response:\n",
        ),
        (
            "Nemotron Mini",
            "<extra_id_0>System\n{{ .System }}\n<extra_id_1>User\n{{ .Prompt }}\n<extra_id_1>Assistant\n{{ .Response }}\n",
            "<extra_id_0>System\nS\n<extra_id_1>User\nU1\n<extra_id_1>Assistant\nA1\n\
             <extra_id_0>System\n\n<extra_id_1>User\nU2\n<extra_id_1>Assistant\n",
        ),
        (
            "StarCoder",
            "{{- if .Suffix }}<fim_prefix>{{ .Prompt }}<fim_suffix>{{ .Suffix }}<fim_middle>\n{{- else }}{{ .System }}\
             {{ .Prompt }}\n{{- end }}{{ .Response }}",
            "SU1A1U2",
        ),
    ] {
        assert_eq!(of_chat(template), expected, "{name}");
    }
}

#[test]
fn styles_of_messages() {
    for (name, template, expected) in [
        (
            "Gemma 3",
            r#"{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 }}
{{- if or (eq .Role "user") (eq .Role "system") }}<start_of_turn>user
{{ .Content }}<end_of_turn>
{{ if $last }}<start_of_turn>model
{{ end }}
{{- else if eq .Role "assistant" }}<start_of_turn>model
{{ .Content }}{{ if not $last }}<end_of_turn>
{{ end }}
{{- end }}
{{- end }}"#,
            "<start_of_turn>user\nS<end_of_turn>\n<start_of_turn>user\nU1<end_of_turn>\n<start_of_turn>model\nA1\
             <end_of_turn>\n<start_of_turn>user\nU2<end_of_turn>\n<start_of_turn>model\n",
        ),
        (
            "Phi 4",
            r#"{{- range $i, $m := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 -}}
<|im_start|>{{ $m.Role }}<|im_sep|>
{{ $m.Content }}{{ if not $last }}<|im_end|>
{{ end }}
{{- if and (ne $m.Role "assistant") $last }}<|im_end|>
<|im_start|>assistant<|im_sep|>
{{ end }}
{{- end }}"#,
            "<|im_start|>system<|im_sep|>\nS<|im_end|>\n<|im_start|>user<|im_sep|>\nU1<|im_end|>\n\
             <|im_start|>assistant<|im_sep|>\nA1<|im_end|>\n<|im_start|>user<|im_sep|>\nU2<|im_end|>\n\
             <|im_start|>assistant<|im_sep|>\n",
        ),
        (
            "DeepSeek R1",
            r#"{{- if .System }}{{ .System }}{{ end }}
{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 }}
{{- if eq .Role "user" }}<｜User｜>{{ .Content }}
{{- else if eq .Role "assistant" }}<｜Assistant｜>{{ if and $.IsThinkSet (and $last .Thinking) }}<think>
{{ .Thinking }}
</think>
{{ end }}{{ .Content }}{{ if not $last }}<｜end▁of▁sentence｜>{{ end }}
{{- end }}
{{- if and $last (ne .Role "assistant") }}<｜Assistant｜>
{{- if and $.IsThinkSet (not $.Think) }}<think>

</think>

{{ end }}
{{- end -}}
{{- end }}"#,
            "S<｜User｜>U1<｜Assistant｜>A1<｜end▁of▁sentence｜><｜User｜>U2<｜Assistant｜>",
        ),
        (
            "SmolLM2",
            r#"{{- if .Messages }}
{{- if .System }}<|im_start|>system
{{ .System }}<|im_end|>
{{ else }}<|im_start|>system
You are helpful.<|im_end|>
{{ end }}
{{- range .Messages }}{{ if eq .Role "system" }}{{ continue }}{{ end }}<|im_start|>{{ .Role }}
{{ .Content }}<|im_end|>
{{ end }}<|im_start|>assistant
{{ else }}{{ .Prompt }}{{ end }}{{ .Response }}"#,
            "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU1<|im_end|>\n<|im_start|>assistant\nA1<|im_end|>\n\
             <|im_start|>user\nU2<|im_end|>\n<|im_start|>assistant\n",
        ),
        (
            "Zephyr, with a template for a message",
            r#"{{ define "message" }}<|{{ .Role }}|>
{{ .Content }}</s>
{{ end }}{{ range .Messages }}{{ template "message" . }}{{ end }}<|assistant|>
"#,
            "<|system|>\nS</s>\n<|user|>\nU1</s>\n<|assistant|>\nA1</s>\n<|user|>\nU2</s>\n<|assistant|>\n",
        ),
    ] {
        assert_eq!(of_chat(template), expected, "{name}");
    }
    // Without a system message, the default of the template.
    let template = "{{ if .System }}{{ .System }}{{ else }}You are helpful.{{ end }}{{ range .Messages }}\n{{ .Content }}{{ end }}";
    assert_eq!(render(template, &CHAT[1..2]), "You are helpful.\nU1");
}

#[test]
fn styles_of_tools_with_the_question() {
    for (name, template, expected) in [
        (
            "Llama 3.1",
            r#"{{- if or .System .Tools }}<|start_header_id|>system<|end_header_id|>
{{- if .System }}

{{ .System }}
{{- end }}
{{- if .Tools }}

Use the results of calls.
{{- end }}<|eot_id|>
{{- end }}
{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 }}
{{- if eq .Role "user" }}<|start_header_id|>user<|end_header_id|>
{{- if and $.Tools (lt (len (slice $.Messages $i)) 4) }}

{{ range $.Tools }}
{{- . }}
{{ end }}
{{ .Content }}<|eot_id|>
{{- else }}

{{ .Content }}<|eot_id|>
{{- end }}
{{- else if eq .Role "assistant" }}<|start_header_id|>assistant<|end_header_id|>
{{- if .ToolCalls }}
{{ range .ToolCalls }}
{"name": "{{ .Function.Name }}", "parameters": {{ .Function.Arguments }}}{{ end }}
{{- else }}

{{ .Content }}
{{- end }}{{ if not $last }}<|eot_id|>{{ end }}
{{- else if eq .Role "tool" }}<|start_header_id|>ipython<|end_header_id|>

{{ .Content }}<|eot_id|>
{{- end }}
{{- if and $last (ne .Role "assistant") }}<|start_header_id|>assistant<|end_header_id|>

{{ end }}
{{- end }}"#,
            format!(
                "<|start_header_id|>system<|end_header_id|>\n\nS\n\nUse the results of calls.<|eot_id|>\
                 <|start_header_id|>user<|end_header_id|>\n\n{TOOL}\n\nU<|eot_id|>\
                 <|start_header_id|>assistant<|end_header_id|>\n\n{{\"name\": \"get_weather\", \"parameters\": \
                 {{\"city\":\"Paris\"}}}}<|eot_id|><|start_header_id|>ipython<|end_header_id|>\n\nsun<|eot_id|>\
                 <|start_header_id|>assistant<|end_header_id|>\n\n"
            ),
        ),
        (
            "Mistral",
            r#"{{- range $index, $_ := .Messages }}
{{- if eq .Role "user" }}
{{- if and (le (len (slice $.Messages $index)) 3) $.Tools }}[AVAILABLE_TOOLS] {{ $.Tools }}[/AVAILABLE_TOOLS]
{{- end }}[INST] {{ if $.System }}{{ $.System }}

{{ end }}{{ .Content }}[/INST]
{{- else if eq .Role "assistant" }}
{{- if .Content }} {{ .Content }}</s>
{{- else if .ToolCalls }}[TOOL_CALLS] [
{{- range .ToolCalls }}{"name": "{{ .Function.Name }}", "arguments": {{ json .Function.Arguments }}}
{{- end }}]</s>
{{- end }}
{{- else if eq .Role "tool" }}[TOOL_RESULTS] {"content": {{ json .Content }}}[/TOOL_RESULTS]
{{- end }}
{{- end }}"#,
            format!(
                "[AVAILABLE_TOOLS] [{TOOL}][/AVAILABLE_TOOLS][INST] S\n\nU[/INST][TOOL_CALLS] [{{\"name\": \
                 \"get_weather\", \"arguments\": {{\"city\":\"Paris\"}}}}]</s>[TOOL_RESULTS] {{\"content\": \"sun\"}}\
                 [/TOOL_RESULTS]"
            ),
        ),
    ] {
        assert_eq!(of_call(template), expected, "{name}");
    }
}

#[test]
fn styles_of_tools_before_the_messages() {
    for (name, template, expected) in [
        (
            "Qwen 2.5",
            r#"{{- if .Messages }}
{{- if or .System .Tools }}<|im_start|>system
{{- if .System }}
{{ .System }}
{{- end }}
{{- if .Tools }}

<tools>
{{- range .Tools }}
{"type": "function", "function": {{ .Function }}}
{{- end }}
</tools>
{{- end }}<|im_end|>
{{ end }}
{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 -}}
{{- if eq .Role "user" }}<|im_start|>user
{{ .Content }}<|im_end|>
{{ else if eq .Role "assistant" }}<|im_start|>assistant
{{ if .Content }}{{ .Content }}
{{- else if .ToolCalls }}<tool_call>
{{ range .ToolCalls }}{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}
{{ end }}</tool_call>
{{- end }}{{ if not $last }}<|im_end|>
{{ end }}
{{- else if eq .Role "tool" }}<|im_start|>user
<tool_response>
{{ .Content }}
</tool_response><|im_end|>
{{ end }}
{{- if and (ne .Role "assistant") $last }}<|im_start|>assistant
{{ end }}
{{- end }}
{{- else }}
{{- if .Prompt }}<|im_start|>user
{{ .Prompt }}<|im_end|>
{{ end }}<|im_start|>assistant
{{ end }}{{ .Response }}{{ if .Response }}<|im_end|>{{ end }}"#,
            format!(
                "<|im_start|>system\nS\n\n<tools>\n{}\n</tools><|im_end|>\n<|im_start|>user\nU<|im_end|>\n\
                 <|im_start|>assistant\n<tool_call>\n{{\"name\": \"get_weather\", \"arguments\": {{\"city\":\"Paris\"}}}}\n\
                 </tool_call><|im_end|>\n<|im_start|>user\n<tool_response>\nsun\n</tool_response><|im_end|>\n\
                 <|im_start|>assistant\n",
                TOOL.replace("\"type\":\"function\",\"function\":", "\"type\": \"function\", \"function\": ")
            ),
        ),
        (
            "Granite",
            r#"{{- if .Tools }}<|start_of_role|>tools<|end_of_role|>[
{{- range $index, $_ := .Tools }}{{ . }}
{{- if and (ne (len (slice $.Tools $index)) 1) (gt (len $.Tools) 1) }},{{ end }}
{{- end }}]<|end_of_text|>
{{ end }}
{{- range $index, $_ := .Messages }}<|start_of_role|>
{{- if eq .Role "tool" }}tool_response{{ else }}{{ .Role }}{{ end }}<|end_of_role|>
{{- if .Content }}{{ .Content }}{{ else if .ToolCalls }}<|tool_call|>
{{- range .ToolCalls }}{"name":"{{ .Function.Name }}","arguments":{{ .Function.Arguments }}}{{ end }}{{ end }}
{{- if eq (len (slice $.Messages $index)) 1 }}
{{- if eq .Role "assistant" }}{{ else }}<|end_of_text|>
<|start_of_role|>assistant<|end_of_role|>{{ end }}{{ else }}<|end_of_text|>
{{ end }}
{{- end }}"#,
            format!(
                "<|start_of_role|>tools<|end_of_role|>[{TOOL}]<|end_of_text|>\n<|start_of_role|>system<|end_of_role|>S\
                 <|end_of_text|>\n<|start_of_role|>user<|end_of_role|>U<|end_of_text|>\n\
                 <|start_of_role|>assistant<|end_of_role|><|tool_call|>{{\"name\":\"get_weather\",\"arguments\":\
                 {{\"city\":\"Paris\"}}}}<|end_of_text|>\n<|start_of_role|>tool_response<|end_of_role|>sun<|end_of_text|>\n\
                 <|start_of_role|>assistant<|end_of_role|>"
            ),
        ),
        (
            "Command R+",
            r#"{{- if .Tools }}<|SYSTEM|>{{ .System }}
{{ range .Tools }}
def {{ .Function.Name }}(
{{- range $name, $property := .Function.Parameters.Properties }}{{ $name }}: {{ $property.Type }}
{{- end }}): {{ .Function.Description }}
{{- end }}
{{ end }}
{{- range .Messages }}
{{- if eq .Role "user" }}<|USER|>{{ .Content }}
{{- else if eq .Role "assistant" }}<|CHATBOT|>{{ range $i, $call := .ToolCalls }}{{ if $i }},{{ end }}{{ $call.Function.Name }}
{{- range $name, $value := $call.Function.Arguments }} {{ $name }}={{ printf "%q" $value }}{{ end }}{{ end }}{{ .Content }}
{{- else if eq .Role "tool" }}<|RESULT|>{{ .ToolName }}: {{ .Content }}
{{- end }}
{{- end }}<|CHATBOT|>"#,
            "<|SYSTEM|>S\n\ndef get_weather(city: string): Weather\n<|USER|>U<|CHATBOT|>get_weather city=\"Paris\"\
             <|RESULT|>get_weather: sun<|CHATBOT|>"
                .to_owned(),
        ),
    ] {
        assert_eq!(of_call(template), expected, "{name}");
    }
}

#[test]
fn styles_of_thinking() {
    let template = r#"{{- $lastUser := -1 -}}
{{- range $i, $_ := .Messages }}{{ if eq .Role "user" }}{{ $lastUser = $i }}{{ end }}{{ end -}}
{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 -}}
{{- if eq .Role "user" }}<|im_start|>user
{{ .Content }}
{{- if and $.IsThinkSet (eq $i $lastUser) }}
{{- if $.Think }} /think{{ else }} /no_think{{ end }}
{{- end }}<|im_end|>
{{ else if eq .Role "assistant" }}<|im_start|>assistant
{{ if .Thinking }}<think>{{ .Thinking }}</think>
{{ end }}{{ .Content }}{{ if not $last }}<|im_end|>
{{ end }}
{{- end }}
{{- if and (ne .Role "assistant") $last }}<|im_start|>assistant
{{ if and $.IsThinkSet (not $.Think) }}<think>

</think>

{{ end }}
{{- end }}
{{- end }}"#;
    let messages = json!([
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b", "reasoning_content": "t"},
        {"role": "user", "content": "c"},
    ]);
    let start = "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n<think>t</think>\nb<|im_end|>\n<|im_start|>user\nc";
    for (thinking, end) in [
        (json!(null), "<|im_end|>\n<|im_start|>assistant\n"),
        (json!(true), " /think<|im_end|>\n<|im_start|>assistant\n"),
        (json!(false), " /no_think<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"),
    ] {
        let mut data = json!({"messages": messages, "add_generation_prompt": true});
        if !thinking.is_null() {
            data["enable_thinking"] = thinking.clone();
        }
        assert_eq!(render_data(template, &data), format!("{start}{end}"), "{thinking}");
    }
}
