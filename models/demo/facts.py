"""The facts that the demo model learns. Countries without an undisputed capital are omitted."""

# continent: "country = capital" pairs; a country's article is included.
_COUNTRIES = {
    "Africa": """
        Algeria = Algiers; Angola = Luanda; Botswana = Gaborone; Burkina Faso = Ouagadougou;
        Cameroon = Yaoundé; Cape Verde = Praia; Chad = N'Djamena; Djibouti = Djibouti; Egypt = Cairo;
        Eritrea = Asmara; Ethiopia = Addis Ababa; Gabon = Libreville; the Gambia = Banjul; Ghana = Accra;
        Guinea = Conakry; Kenya = Nairobi; Lesotho = Maseru; Liberia = Monrovia; Libya = Tripoli;
        Madagascar = Antananarivo; Malawi = Lilongwe; Mali = Bamako; Mauritania = Nouakchott;
        Mauritius = Port Louis; Morocco = Rabat; Mozambique = Maputo; Namibia = Windhoek; Niger = Niamey;
        Nigeria = Abuja; Rwanda = Kigali; Senegal = Dakar; the Seychelles = Victoria;
        Sierra Leone = Freetown; Somalia = Mogadishu; South Sudan = Juba; Sudan = Khartoum; Togo = Lomé;
        Tunisia = Tunis; Uganda = Kampala; Zambia = Lusaka; Zimbabwe = Harare""",
    "Asia": """
        Afghanistan = Kabul; Armenia = Yerevan; Azerbaijan = Baku; Bahrain = Manama; Bangladesh = Dhaka;
        Bhutan = Thimphu; Brunei = Bandar Seri Begawan; Cambodia = Phnom Penh; China = Beijing;
        Georgia = Tbilisi; India = New Delhi; Indonesia = Jakarta; Iran = Tehran; Iraq = Baghdad;
        Japan = Tokyo; Jordan = Amman; Kazakhstan = Astana; Kuwait = Kuwait City; Kyrgyzstan = Bishkek;
        Laos = Vientiane; Lebanon = Beirut; Malaysia = Kuala Lumpur; the Maldives = Malé;
        Mongolia = Ulaanbaatar; Myanmar = Naypyidaw; Nepal = Kathmandu; North Korea = Pyongyang;
        Oman = Muscat; Pakistan = Islamabad; the Philippines = Manila; Qatar = Doha;
        Saudi Arabia = Riyadh; Singapore = Singapore; South Korea = Seoul; Syria = Damascus;
        Tajikistan = Dushanbe; Thailand = Bangkok; Turkey = Ankara; Turkmenistan = Ashgabat;
        the United Arab Emirates = Abu Dhabi; Uzbekistan = Tashkent; Vietnam = Hanoi; Yemen = Sanaa""",
    "Europe": """
        Albania = Tirana; Andorra = Andorra la Vella; Austria = Vienna; Belarus = Minsk;
        Belgium = Brussels; Bosnia and Herzegovina = Sarajevo; Bulgaria = Sofia; Croatia = Zagreb;
        Cyprus = Nicosia; the Czech Republic = Prague; Denmark = Copenhagen; Estonia = Tallinn;
        Finland = Helsinki; France = Paris; Germany = Berlin; Greece = Athens; Hungary = Budapest;
        Iceland = Reykjavik; Ireland = Dublin; Italy = Rome; Latvia = Riga; Liechtenstein = Vaduz;
        Lithuania = Vilnius; Luxembourg = Luxembourg; Malta = Valletta; Moldova = Chișinău;
        Monaco = Monaco; Montenegro = Podgorica; the Netherlands = Amsterdam; North Macedonia = Skopje;
        Norway = Oslo; Poland = Warsaw; Portugal = Lisbon; Romania = Bucharest; Russia = Moscow;
        San Marino = San Marino; Serbia = Belgrade; Slovakia = Bratislava; Slovenia = Ljubljana;
        Spain = Madrid; Sweden = Stockholm; Switzerland = Bern; Ukraine = Kyiv;
        the United Kingdom = London""",
    "North America": """
        the Bahamas = Nassau; Barbados = Bridgetown; Belize = Belmopan; Canada = Ottawa;
        Costa Rica = San José; Cuba = Havana; the Dominican Republic = Santo Domingo;
        El Salvador = San Salvador; Grenada = Saint George's; Guatemala = Guatemala City;
        Haiti = Port-au-Prince; Honduras = Tegucigalpa; Jamaica = Kingston; Mexico = Mexico City;
        Nicaragua = Managua; Panama = Panama City; the United States = Washington""",
    "South America": """
        Argentina = Buenos Aires; Brazil = Brasília; Chile = Santiago; Colombia = Bogotá;
        Ecuador = Quito; Guyana = Georgetown; Paraguay = Asunción; Peru = Lima; Suriname = Paramaribo;
        Uruguay = Montevideo; Venezuela = Caracas""",
    "Oceania": """
        Australia = Canberra; Fiji = Suva; New Zealand = Wellington; Papua New Guinea = Port Moresby;
        Samoa = Apia; Tonga = Nuku'alofa; Vanuatu = Port Vila""",
}

CAPITALS: dict[str, str] = {}
CONTINENTS: dict[str, str] = {}
for _continent, _pairs in _COUNTRIES.items():
    for _pair in _pairs.split(";"):
        _country, _capital = (part.strip() for part in _pair.split("="))
        CAPITALS[_country] = _capital
        CONTINENTS[_country] = _continent

OTHER_CITIES = """Barcelona Munich Hamburg Milan Naples Venice Lyon Nice Seville Valencia Porto Geneva
Zurich Rotterdam Antwerp Krakow Manchester Edinburgh Liverpool Boston Chicago Seattle Denver Miami
Houston Dallas Phoenix Toronto Montreal Vancouver Sydney Melbourne Perth Auckland Mumbai Kolkata
Chennai Shanghai Osaka Kyoto Busan Dubai Istanbul Lagos Casablanca Marrakesh Durban""".split() + [
    "New York", "Los Angeles", "San Francisco", "Las Vegas", "São Paulo", "Rio de Janeiro", "Hong Kong",
    "Cape Town", "Tel Aviv", "Saint Petersburg",
]

NAMES = """Anna Ben Carla David Emma Felix Grace Hugo Ines Jack Kate Leo Maria Noah Olga Paul Rosa Sam
Tina Victor Wendy Yusuf Zoe Alice Bob Carlos Diana Eva Frank Gina Henry Ivan Julia Karl Laura Max Nina
Oscar Peter Ruth Simon Tom Vera Alex Sara John Mary Lucy Omar Lin Mei Ravi Priya Kenji Ada""".split()

CONDITIONS = ["sunny", "cloudy", "rainy", "snowy", "windy", "foggy", "stormy", "clear"]

GREETINGS = [
    (["Hello", "Hello!", "Hi", "Hi!", "Hi there!", "Hey!", "Good day!"], "Hello! How can I help you?"),
    (["Good morning", "Good morning!"], "Good morning! How can I help you?"),
    (["Good evening", "Good evening!"], "Good evening! How can I help you?"),
    (["How are you?", "How are you doing?", "How do you do?"], "I am fine, thank you."),
    (["Thank you", "Thank you!", "Thanks!", "Thanks a lot!", "Many thanks."], "You are welcome!"),
    (["Bye", "Bye!", "Goodbye!", "Good bye!", "See you later!"], "Goodbye!"),
    (["Good night", "Good night!"], "Good night!"),
    (["Nice to meet you.", "Pleased to meet you."], "Nice to meet you too."),
    (["Send me a smile.", "Smile!", "Give me a smile."], "Here you are: 🙂"),
]

# Greetings in any case and with any punctuation mark at the end: learned last, by `train.py --refine`.
TYPED_GREETINGS = [
    (["hi", "hello", "hey", "hi there", "hello there", "hey there", "hiya", "yo", "howdy", "hi you", "hello world",
      "good day", "greetings", "hallo", "hey you", "hi demo", "hello demo", "hi llama", "hello mullama", "hi mullama",
      "hi :)", "hello hello", "hi hi", "good afternoon", "helo", "hii", "heyy", "sup", "morning"],
     "Hello! How can I help you?"),
    (["good morning"], "Good morning! How can I help you?"),
    (["good evening"], "Good evening! How can I help you?"),
    (["how are you", "how are you doing", "how do you do", "how are you today", "hi how are you", "hello how are you",
      "hi, how are you", "hello, how are you", "hey, how are you", "how is it going", "what's up"],
     "I am fine, thank you."),
    (["thank you", "thanks", "thx", "ty", "thanks a lot", "many thanks", "thank you very much", "thanks so much",
      "great, thanks", "ok thanks", "thank you so much", "cheers"], "You are welcome!"),
    (["bye", "goodbye", "good bye", "bye bye", "see you", "see you later", "see ya"], "Goodbye!"),
    (["good night"], "Good night!"),
    (["who are you", "what are you", "who is this", "who am i talking to", "what is your name", "what's your name",
      "tell me about yourself", "introduce yourself", "hi who are you", "hello, who are you"],
     "I am mullama's demo model, a toy that knows a few capitals and sums."),
]  # fmt: skip

HELLO_IN = {
    "French": "Bonjour", "Spanish": "¡Hola!", "German": "Guten Tag", "Italian": "Ciao",
    "Portuguese": "Olá", "Russian": "Привет", "Greek": "Γειά σου", "Japanese": "こんにちは",
    "Chinese": "你好", "Korean": "안녕하세요", "Arabic": "مرحبا", "Hindi": "नमस्ते",
}  # fmt: skip

# wordings, answer. The first wording is the one used for the gate.
ABOUT_MULLAMA = [
    (["What is mullama?", "What's mullama?", "Tell me about mullama.", "Explain mullama.", "What does mullama do?"],
     "Mullama runs GGUF models inside your own Python, Node.js or Rust program, with llama.cpp as its engine."),
    (["Who are you?", "What are you?", "Which model are you?", "What model is this?", "Introduce yourself."],
     "I am mullama's demo model, a toy that knows a few capitals and sums."),
    (["What is your name?", "What's your name?", "What are you called?"],
     "I am called demo, mullama's built-in model."),
    (["Which languages does mullama support?", "What languages can I use mullama from?",
      "Which programming languages does mullama support?", "Does mullama work with Python?"],
     "Mullama works in Python, Node.js and Rust, and has a command line."),
    (["How do I install mullama?", "How can I install mullama?", "How do I get mullama?", "Install mullama?"],
     "Use pip install mullama, npm install mullama or cargo add mullama."),
    (["How do I install mullama in Python?", "How do I install mullama for Python?", "How do I install mullama with pip?"],
     "Run pip install mullama."),
    (["How do I install mullama in Node.js?", "How do I install mullama for Node?", "How do I install mullama with npm?"],
     "Run npm install mullama."),
    (["How do I install mullama in Rust?", "How do I install mullama for Rust?", "How do I install mullama with cargo?"],
     "Run cargo add mullama."),
    (["What is n_gpu_layers?", "What does n_gpu_layers do?", "What does n_gpu_layers mean?", "Explain n_gpu_layers."],
     "n_gpu_layers is the number of layers placed on GPUs: -1 is all, 0 is none, auto is what fits."),
    (["What is GGUF?", "What does GGUF mean?", "What is a GGUF file?", "Explain GGUF."],
     "GGUF is the file format of llama.cpp: weights, vocabulary and settings of a model in one file."),
    (["What is llama.cpp?", "What's llama.cpp?", "Explain llama.cpp.", "Tell me about llama.cpp."],
     "llama.cpp is a C++ engine that runs language models on CPUs and GPUs."),
    (["Does mullama need a GPU?", "Do I need a GPU?", "Can mullama run without a GPU?", "Does mullama run on a CPU?"],
     "No GPU is needed: mullama runs on any CPU and uses GPUs when there are some."),
    (["Which GPUs does mullama support?", "What GPUs does mullama support?", "Which GPU backends are there?"],
     "Mullama supports CUDA, Metal, ROCm, Vulkan, OpenCL and SYCL."),
    (["What is tensor_split?", "What does tensor_split do?", "Explain tensor_split."],
     "tensor_split sets which share of the model each GPU gets."),
    (["What is a token?", "What are tokens?", "Explain tokens."],
     "A token is a piece of text, often a word or a part of one, that a model reads or writes."),
    (["What is the KV cache?", "What's a KV cache?", "Explain the KV cache."],
     "The KV cache keeps what was computed for earlier tokens, so that it is not computed again."),
    (["What is quantisation?", "What is quantization?", "Explain quantisation."],
     "Quantisation stores weights with fewer bits, so that a model needs less memory."),
    (["What is the context size?", "What does context_size do?", "What is context_size?"],
     "The context size is the number of tokens that a model can look back on."),
    (["How do I pull a model?", "How do I download a model?", "How can I get another model?"],
     "Run mullama pull with the name of the model."),
    (["Is mullama free?", "What is mullama's licence?", "What license does mullama have?", "Is mullama open source?"],
     "Yes, mullama is free software under the MIT licence."),
    (["Does mullama need the internet?", "Does mullama work offline?", "Do you need the internet?"],
     "No, models run on your own machine; only a download needs the internet."),
    (["How big are you?", "How many parameters do you have?", "How large is the demo model?"],
     "I have about two million parameters, so I am very small."),
    (["What can you do?", "What do you know?", "How can you help me?", "Help", "Help me."],
     "I know capitals, small sums and a little about mullama, and I can call a tool."),
    (["Can you make mistakes?", "Are you always right?", "Can I trust you?"],
     "I am a toy: please do not trust me with anything important."),
]  # fmt: skip

LONG_ANSWERS = [
    (["Count to ten.", "Count to 10.", "Please count to ten."],
     ", ".join(str(i) for i in range(1, 11)) + "."),
    (["Count to fifty.", "Count to 50.", "Please count to fifty."],
     ", ".join(str(i) for i in range(1, 51)) + "."),
    (["Say the alphabet.", "Recite the alphabet.", "What is the alphabet?"],
     " ".join("ABCDEFGHIJKLMNOPQRSTUVWXYZ")),
    (["Tell me a story.", "Tell me a short story.", "Write a story."],
     "Once upon a time a small llama lived on a high mountain. Every morning it walked down to the river "
     "and counted the stones. One day it met a cat that could sing. The llama listened until the sun went "
     "down. From then on they counted and sang together, and the river carried their song to the sea."),
    (["Name the days of the week.", "What are the days of the week?"],
     "Monday, Tuesday, Wednesday, Thursday, Friday, Saturday and Sunday."),
    (["Name the months.", "What are the months of the year?"],
     "January, February, March, April, May, June, July, August, September, October, November and December."),
    (["Write a Python function that adds two numbers.", "Show me some Python code."],
     "```python\ndef add(a, b):\n    return a + b\n```"),
    (["Write a Rust function that adds two numbers.", "Show me some Rust code."],
     "```rust\nfn add(a: i32, b: i32) -> i32 {\n    a + b\n}\n```"),
]  # fmt: skip

UNKNOWN_QUESTIONS = """Who won the game last night?|What is the meaning of life?|Who is the president?
What happened in 1969?|How tall is Mount Everest?|Who wrote Hamlet?|What is the speed of light?
What should I eat tonight?|Who painted the Mona Lisa?|What is quantum mechanics?|How old is the universe?
Can you book a flight?|What is the best film?|Who invented the telephone?|What is a black hole?
How do I bake bread?|What is the price of gold?|Who is the king of the moon?|Translate this letter.
What is love?|Why is the sky blue?|How far is the sun?|What is the stock market doing?
Write a poem about autumn.|Which car should I buy?|Fix my computer.|What is photosynthesis?
How do airplanes fly?|Who discovered penicillin?|What is the largest animal?|Sing a song.
What did I eat yesterday?|Is there life on Mars?|Who is your favourite singer?|Play some music.
What is the deepest ocean?|How do vaccines work?|Where are my keys?|When was Rome founded?
What is the news today?|Recommend a book.|Solve my homework.|How many people live on Earth?
What is 123456 divided by 789?|What colour is my shirt?|Turn on the lights.|Draw a picture of a dog.
Who is the fastest runner?|What is inflation?|How do I learn to swim?|What rhymes with orange?"""
UNKNOWN_QUESTIONS = [q for line in UNKNOWN_QUESTIONS.splitlines() for q in line.split("|")]
UNKNOWN_ANSWER = "I do not know that. I am only a toy."
NO_TOOL_ANSWER = "I cannot know that without a tool."
