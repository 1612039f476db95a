import {
  type AssistantMessage,
  type Chat,
  type ChatChunk,
  type ChatCompletion,
  type Chunk,
  type Completion,
  type Embeddings,
  gpu,
  type Message,
  Model,
  MullamaError,
  type Reranking,
  type Stream,
  type Tool,
} from 'mullama';

const pulled = await Model.pull('llama3.2:1b', {
  onProgress: ({ phase, fraction, eta }) => phase === 'done' || fraction * (eta ?? 1) >= 0,
  signal: AbortSignal.timeout(1000),
});
const stored: string = pulled.name + pulled.path + pulled.size.toFixed();
// @ts-expect-error: there is no such option
await Model.pull(stored, { tokne: 'x' });

const model: Model = await Model.load('model.gguf', {
  nGpuLayers: 'all',
  tensorSplit: [0.6, 0.4],
  splitMode: 'layer',
  kvCacheType: ['q8_0', 'f16'],
  flashAttention: 'on',
  metadataOverrides: { 'llama.context_length': 4096 },
  signal: AbortSignal.timeout(1000),
  onProgress: (progress: number) => progress < 0.5,
});
const other = new Model(new URL('file:///model.gguf'), { nGpuLayers: -1, onProgress: () => {} });

class Mine extends Model {
  readonly own = 1;
}
const mine: Mine = await Mine.load('demo');
mine.own.toFixed();

const completion: Completion = await model.generate('Once', {
  maxTokens: 10,
  logitBias: { 5: -1, 6: false },
  stop: 'x',
  jsonSchema: { type: 'object' },
});
const text: string = `${completion}${completion.text}${completion.tokens[0] ?? 0}`;
const reason: 'stop' | 'length' | 'tool_calls' | 'cancelled' = completion.finishReason;
await model.generate([1, 2, 3]);
await model.generate(new Int32Array(3));

const embeddings: Embeddings = await model.embed(['x', [1, 2]], {
  pooling: 'mean',
  dimensions: 64,
  truncate: 'end',
  signal: AbortSignal.timeout(1000),
});
const vector: Float32Array | undefined = embeddings.vectors[0];
const ranked: Reranking = await model.rerank('x', ['y'], { topN: 1 });
for (const { index, score } of ranked) console.log(vector, index.toFixed(), score.toFixed());
// @ts-expect-error There is no such pooling.
await model.embed('x', { pooling: 'median' });

const messages: Message[] = [{ role: 'user', content: 'Hi' }];
const tools: Tool[] = [{ type: 'function', function: { name: 'f', parameters: {} } }];
const answer: ChatCompletion = await model.chat(messages, { tools, toolChoice: 'auto' });
const message: AssistantMessage = answer.message;
messages.push(
  {
    role: 'assistant',
    content: null,
    refusal: null,
    function_call: { name: 'f', arguments: '{}' },
  },
  { role: 'function', name: 'f', content: [{ type: 'output_text', text: '1' }] },
  { role: 'assistant', content: [{ type: 'refusal', refusal: 'No.' }], tool_calls: null },
);
messages.push(message, {
  role: 'tool',
  tool_call_id: message.tool_calls?.[0]?.id ?? '',
  content: '1',
});

const stream: Stream<Chunk> = model.stream('Once');
for await (const chunk of stream) process.stdout.write(chunk.text);
const tokens: number[] | undefined = stream.completion?.tokens;

{
  await using chat: Stream<ChatChunk> = model.streamChat(messages);
  for await (const { text, reasoning, toolCalls } of chat) {
    const name: string | undefined = toolCalls[0]?.name;
    console.log(text.length, reasoning.length, name);
  }
  const said: string | null | undefined = chat.completion?.message.content;
  console.log(said);
}

const state: Buffer = await model.saveState('x', { path: new URL('file:///tmp/x.state') });
await model.generate('x', { signal: AbortSignal.timeout(1) });
console.log(state.toString('hex'));

const prompt: string = model.applyChatTemplate(messages, { addGenerationPrompt: false });
const ids: number[] = model.tokenize(prompt, { addSpecial: false, parseSpecial: true });
const back: string = model.detokenize(ids, { skipSpecial: true });
const free: number = gpu.devices()[0]?.memoryFree ?? 0;
const [used, total]: [number, number] = gpu.cudaMemoryInfo(0);

try {
  await model.close();
} catch (error) {
  if (error instanceof MullamaError && error.code === 'CLOSED')
    console.log(error.hint, error.context);
  // @ts-expect-error: there is no such code
  if (error instanceof MullamaError && error.code === 'CLOSD') console.log(error.hint);
  // @ts-expect-error: there is no such kind
  if (error instanceof MullamaError && error.kind === 'Closd') console.log(error.hint);
}
{
  using scoped = other;
  console.log(
    scoped.nParams,
    scoped.placement.devices[0]?.kv,
    scoped.capabilities.chat,
    scoped.defaultOptions.topK,
  );
}

// An object without a type: TypeScript infers `string` for its role.
const question = { role: 'user', content: 'x' };
await model.chat([question]);
await model.chat([question, (await model.chat([question])).message]);
for await (const chunk of model.streamChat([question])) chunk.text.at(0);
model.applyChatTemplate([question]).at(0);
await model.startChat({ messages: [question] }).send(question);
await model.startChat().send([question]);
// @ts-expect-error: there is no such role
await model.chat([{ role: 'usr', content: 'x' }]);
// @ts-expect-error: there is no such role
await model.chat([{ role: 'user', content: 'x' }, { role: 'usr' } as const]);
// @ts-expect-error: there is no such role
model.streamChat([{ role: 'usr', content: 'x' }]);
// @ts-expect-error: there is no such role
model.startChat({ messages: [{ role: 'usr', content: 'x' }] });
// @ts-expect-error: there is no such role
await model.startChat().send({ role: 'usr', content: 'x' });
// @ts-expect-error: there is no such role
messages.push({ role: 'usr', content: 'x' });
const bytes = new Uint8Array(8);
await model.chat([{ role: 'user', content: [bytes, 'What is this?'] }]);
await model.chat([{ role: 'user', content: [{ type: 'image_url', image_url: { url: bytes } }] }]);

// @ts-expect-error: there is no such option
await model.generate('x', { maxToken: 3 });
// @ts-expect-error: a number
await model.generate('x', { maxTokens: '3' });
// @ts-expect-error: neither text nor tokens
await model.generate({});
// @ts-expect-error: there is no such field
await model.chat([{ role: 'user', contnet: 'x' }]);
// @ts-expect-error: read only
model.nLayers = 3;

console.log(text, reason, tokens, back, free, used, total);

const chat: Chat = model.startChat({
  system: 'Be brief.',
  tools: [
    { name: 'f', parameters: {}, execute: async ({ city }, { id, signal }) => [city, id, signal] },
    { name: 'g', parameters: {}, execute: ({ city }: { city: string }) => city.length },
    // @ts-expect-error: arguments are an object
    { name: 'h', parameters: {}, execute: (city: string) => city },
    ...tools,
  ],
  maxToolRounds: 2,
});
const said: ChatCompletion = await chat.send('Hello', { reasoningBudget: 9 });
chat.messages.push(said.message);
// @ts-expect-error: the author of an answer is the assistant
console.log(said.message.role === 'user');
for await (const chunk of chat.stream([{ role: 'user', content: 'x' }])) chunk.text.at(0);
// @ts-expect-error: there is no such option
await chat.send('Hello', { maxToolRound: 1 });
