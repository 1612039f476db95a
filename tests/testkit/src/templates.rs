//! Chat templates in the styles of real models, written for tests. A library must determine from the
//! template alone what it supports (system messages, tools, reasoning).

/// `ChatML` with reasoning between `<think>` tags, which `enable_thinking` switches, and tools in
/// Hermes format.
pub const THINKING: &str = r#"
{%- if tools %}
    {{- '<|im_start|>system\n' }}
    {%- if messages[0].role == 'system' %}{{- messages[0].content + '\n\n' }}{%- endif %}
    {{- 'You may call these functions:\n<tools>' }}
    {%- for tool in tools %}{{- '\n' + (tool | tojson) }}{%- endfor %}
    {{- '\n</tools>\nCall one so:\n<tool_call>\n{"name": <name>, "arguments": <object>}\n</tool_call><|im_end|>\n' }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == 'user' or (message.role == 'system' and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}
    {%- elif message.role == 'assistant' %}
        {{- '<|im_start|>assistant\n' }}
        {%- if message.reasoning_content %}
            {{- '<think>\n' + message.reasoning_content + '\n</think>\n\n' }}
        {%- endif %}
        {%- if message.content %}{{- message.content }}{%- endif %}
        {%- for call in message.tool_calls or [] %}
            {%- if message.content or not loop.first %}{{- '\n' }}{%- endif %}
            {{- '<tool_call>\n{"name": "' + call.function.name + '", "arguments": ' }}
            {%- if call.function.arguments is string %}
                {{- call.function.arguments }}
            {%- else %}
                {{- call.function.arguments | tojson }}
            {%- endif %}
            {{- '}\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\n' }}
    {%- elif message.role == 'tool' %}
        {{- '<|im_start|>user\n<tool_response>\n' + message.content + '\n</tool_response><|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\n\n</think>\n\n' }}
    {%- endif %}
{%- endif %}"#;

/// `ChatML` with tool calls between tags, each argument in a tag of its own, as in coding models.
pub const TAGGED: &str = r"
{%- if tools %}
    {{- '<|im_start|>system\nFunctions:\n' }}
    {%- for tool in tools %}{{- (tool | tojson) + '\n' }}{%- endfor %}
    {{- 'Call one so:\n<tool_call>\n<function=name>\n<parameter=key>\nvalue\n</parameter>\n</function>\n</tool_call><|im_end|>\n' }}
{%- endif %}
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\n' + (message.content or '') }}
    {%- for call in message.tool_calls or [] %}
        {{- '<tool_call>\n<function=' + call.function.name + '>\n' }}
        {%- for key, value in call.function.arguments.items() %}
            {{- '<parameter=' + key + '>\n' + (value | string) + '\n</parameter>\n' }}
        {%- endfor %}
        {{- '</function>\n</tool_call>' }}
    {%- endfor %}
    {{- '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}";

/// Functions as Python writes them, a table of budgets, and calls between tags of their own, as in Seed-OSS.
pub const DOCSTRINGS: &str = r#"
{%- set call_begin = '<seed:tool_call>' -%}
{%- set call_end = '</seed:tool_call>' -%}
{%- macro python_type(type) -%}
    {%- if type == 'string' -%}str
    {%- elif type in ('number', 'integer') -%}int
    {%- elif type == 'boolean' -%}bool
    {%- elif type == 'array' -%}list
    {%- else -%}Any{%- endif -%}
{%- endmacro -%}
{%- if messages[0].role == 'system' -%}
    {%- set system = messages[0].content -%}
    {%- set rest = messages[1:] -%}
{%- else -%}
    {%- set system = '' -%}
    {%- set rest = messages -%}
{%- endif -%}
{{- '<seed:bos>system\n' + system }}
{%- for tool in tools or [] if tool.type == 'function' %}
    {{- '\nFunction:\ndef ' + tool.function.name + '(' }}
    {%- for name, property in tool.function.parameters.properties.items() -%}
        {{- name + ': ' + python_type(property.type) + (', ' if not loop.last else '') }}
    {%- endfor %}
    {{- '):\n    """' + (tool.function.description or '') | trim + '"""' }}
{%- endfor %}
{%- set budgets = {0: 0, 1024: 256, 512: 128} -%}
{%- set found = namespace(interval=none) -%}
{%- for budget, interval in budgets | dictsort -%}
    {%- if found.interval is none and 600 <= budget -%}{%- set found.interval = interval -%}{%- endif -%}
{%- endfor -%}
{{- '\nReflect every ' ~ found.interval ~ ' tokens.<seed:eos>' }}
{%- for i in range(rest | length - 1, -1, -1) if rest[i].role == 'user' -%}
    {%- if loop.first -%}{{- '\n<!-- message ' ~ i ~ ' -->' }}{%- endif -%}
{%- endfor -%}
{%- for message in rest %}
    {%- if message.role == 'assistant' %}
        {{- '<seed:bos>assistant\n' }}
        {%- if message.content is string and message.content | trim | length > 0 %}
            {{- '\n' + message.content | trim + '\n' }}
        {%- endif %}
        {%- for call in message.tool_calls or [] %}
            {{- '\n' + call_begin + '\n<function=' + call.function.name + '>\n' }}
            {%- for name, value in call.function.arguments | items %}
                {{- '<parameter=' + name + '>' }}
                {%- if value is string %}{{- value }}{%- else %}{{- value | tojson }}{%- endif %}
                {{- '</parameter>\n' }}
            {%- endfor %}
            {{- '</function>\n' + call_end }}
        {%- endfor %}
        {{- '<seed:eos>' }}
    {%- else %}
        {{- '<seed:bos>' + message.role + '\n' + message.content + '<seed:eos>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<seed:bos>assistant\n' }}{%- endif %}"#;

/// Calls whose name and parameters are attributes of tags, as in `MiniCPM5`.
pub const ATTRIBUTES: &str = r#"
{%- if tools %}
    {{- '<|im_start|>system\nTool usage guidelines:\n' }}
    {%- for tool in tools %}{{- (tool | tojson(ensure_ascii=False)) + '\n' }}{%- endfor %}
    {{- '<|im_end|>\n' }}
{%- endif %}
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\n' + (message.content or '') }}
    {%- for call in message.tool_calls or [] %}
        {%- set function = call.function if call.function is defined else call %}
        {{- '<function name="' ~ function.name ~ '">' }}
        {%- if function.arguments is mapping %}
            {%- for name, value in function.arguments.items() %}
                {{- '<param name="' ~ name ~ '">' }}
                {%- if value is mapping or (value is iterable and value is not string) %}
                    {{- value | tojson(ensure_ascii=False) }}
                {%- else %}
                    {{- value }}
                {%- endif %}
                {{- '</param>' }}
            {%- endfor %}
        {%- endif %}
        {{- '</function>' }}
    {%- endfor %}
    {{- '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n<think>\n\n</think>\n\n' }}{%- endif %}"#;

/// Headers around roles, as in Llama 3; a tool is called with an object that has `parameters`.
pub const HEADERS: &str = r#"
{{- bos_token }}
{%- if messages[0].role == 'system' %}
    {%- set instructions = messages[0].content %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set instructions = '' %}
{%- endif %}
{{- '<|start_header_id|>system<|end_header_id|>\n\n' + instructions }}
{%- if tools %}
    {{- '\n\nAnswer with a call of one of these functions, as {"name": its name, "parameters": its arguments}.\n\n' }}
    {%- for tool in tools %}{{- (tool | tojson) + '\n\n' }}{%- endfor %}
{%- endif %}
{{- '<|eot_id|>' }}
{%- for message in messages %}
    {%- if message.role == 'assistant' and message.tool_calls %}
        {%- if message.tool_calls | length != 1 %}
            {{- raise_exception('one call at a time') }}
        {%- endif %}
        {%- set call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
        {{- '{"name": "' + call.name + '", "parameters": ' + (call.arguments | tojson) + '}<|eot_id|>' }}
    {%- elif message.role == 'tool' %}
        {{- '<|start_header_id|>ipython<|end_header_id|>\n\n' + (message.content | tojson) + '<|eot_id|>' }}
    {%- else %}
        {{- '<|start_header_id|>' + message.role + '<|end_header_id|>\n\n' + (message.content | trim) + '<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}"#;

/// Instructions in brackets, as in Mistral's early models; tool calls are a list after
/// `[TOOL_CALLS]`.
pub const BRACKETS: &str = r#"
{{- bos_token }}
{%- if messages[0].role == 'system' %}
    {%- set instructions = messages[0].content + '\n\n' %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set instructions = '' %}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == 'user' %}
        {%- if tools and loop.last %}{{- '[AVAILABLE_TOOLS]' + (tools | tojson) + '[/AVAILABLE_TOOLS]' }}{%- endif %}
        {{- '[INST]' + (instructions if loop.first else '') + message.content + '[/INST]' }}
    {%- elif message.role == 'assistant' and message.tool_calls %}
        {{- '[TOOL_CALLS][' }}
        {%- for call in message.tool_calls %}
            {{- '{"name": "' + call.function.name + '", "arguments": ' + (call.function.arguments | tojson) + ', "id": "' + call.id + '"}' }}
            {%- if not loop.last %}{{- ', ' }}{%- endif %}
        {%- endfor %}
        {{- ']' + eos_token }}
    {%- elif message.role == 'assistant' %}
        {{- message.content + eos_token }}
    {%- elif message.role == 'tool' %}
        {{- '[TOOL_RESULTS]{"content": ' + (message.content | tojson) + ', "call_id": "' + message.tool_call_id + '"}[/TOOL_RESULTS]' }}
    {%- endif %}
{%- endfor %}"#;

/// Neither system messages nor tools, as in Gemma.
pub const NO_SYSTEM: &str = r"
{{- bos_token }}
{%- for message in messages %}
    {%- if message.role == 'system' %}{{- raise_exception('there are no system messages') }}{%- endif %}
    {%- set role = 'model' if message.role == 'assistant' else message.role %}
    {{- '<start_of_turn>' + role + '\n' + (message.content | trim) + '<end_of_turn>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<start_of_turn>model\n' }}{%- endif %}";

/// Rejects messages whose roles do not alternate.
pub const STRICT: &str = r"
{%- for message in messages %}
    {%- if (message.role == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('roles must alternate: user, assistant, user') }}
    {%- endif %}
    {{- message.role + ': ' + message.content + '\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- 'assistant: ' }}{%- endif %}";

/// Templates, by name, that take too long or use too much memory, so that a program must limit them.
pub const RUNAWAY: [(&str, &str); 8] = [
    ("much of little", "{%- for m in messages %}{{- 'x' * 99999 }}{%- endfor %}"),
    (
        "loops in loops",
        "{%- for a in range(9999) %}{%- for b in range(9999) %}{%- for c in range(9999) %}\
         {{- '' }}{%- endfor %}{%- endfor %}{%- endfor %}",
    ),
    ("a long list", "{%- for a in range(99999999999) %}{{- a }}{%- endfor %}"),
    ("a macro in itself", "{%- macro again() %}{{- again() }}{%- endmacro %}{{- again() }}"),
    (
        "doubling text",
        "{%- set s = namespace(t='x' * 1000) %}{%- for a in range(60) %}\
         {%- set s.t = s.t ~ s.t %}{%- endfor %}{{- s.t }}",
    ),
    ("a text times a number", "{{- 'x' * 99999999999 }}"),
    (
        "two macros in each other",
        "{%- macro one(n) %}{{- two(n + 1) }}{%- endmacro %}\
         {%- macro two(n) %}{{- one(n + 1) }}{%- endmacro %}{{- one(0) }}",
    ),
    (
        "a loop over messages only",
        "{%- for message in messages %}{{- message.content }}{%- if message.content == 'loop' %}\
         {%- for a in range(9999) %}{%- for b in range(9999) %}{{- '' }}{%- endfor %}{%- endfor %}\
         {%- endif %}{%- endfor %}",
    ),
];
