const E = [
  {
    id: "openai",
    name: 'OpenAI "and" others',
    description: `Two
lines.`,
    models: [
      {
        id: "gpt",
        match: { or: [{ equals: "gpt" }, { equals: "gpt-0613" }, { regex: "^gpt-\\d{8}$" }, { starts_with: "ft:gpt-" }] },
        context_window: 1e6,
        deprecated: !1,
        prices: { input_mtok: 30, output_mtok: 60.5, web_searches_kcount: 10 }
      },
      { id: "whisper", match: { equals: "whisper" }, prices: { audio_hours: .36 } },
      { id: "embed", match: { equals: "embed" }, deprecated: !0, prices: { input_mtok: 0.08333333333333334 } }
    ]
  },
  {
    id: "anthropic",
    models: [
      {
        id: "claude-3",
        match: { starts_with: "claude-3" },
        prices: {
          input_mtok: { base: 3, tiers: [{ start: 2e5, price: 6 }] },
          output_mtok: { base: 15, tiers: [{ price: 22.5, start: 200000 }] },
          cache_read_mtok: 3e-1,
          cache_write_mtok: 3.75,
          cache_write_1h_mtok: { base: 6, tiers: [{ start: 2e5, price: 12 }] }
        }
      }
    ]
  },
  {
    id: "google",
    models: [
      { id: "claude-3", match: { contains: "claude-3" }, prices: { input_mtok: 99 } },
      { id: "pro", match: { and: [{ starts_with: "pro" }, { regex: "^(?!.*tts)" }] }, prices: { input_mtok: 1 } },
      { id: "flash", match: { ends_with: "flash" }, prices: { input_mtok: 2 } }
    ]
  },
  { id: "mistral", models: [
      {
        id: "dated",
        match: { equals: "dated" },
        prices: [
          { prices: { input_mtok: 9 } },
          { constraint: { start_date: "2026-01-31", type: "start_date" }, prices: { input_mtok: 3 } },
          { constraint: { start_date: "2026-02-01", type: "start_date" }, prices: { input_mtok: 1 } }
        ]
      },
      {
        id: "hours",
        match: { equals: "hours" },
        prices: [
          { constraint: { start_time: "16:30:00Z", end_time: "00:30:00Z", type: "time_of_date" }, prices: { input_mtok: 8 } },
          { prices: { input_mtok: 2, output_mtok: 5 } },
          { constraint: { start_time: "01:00:00Z", end_time: "04:00:00Z", type: "time_of_date" }, prices: { input_mtok: 4, output_mtok: 1 } }
        ]
      },
      {
        id: "long-hours",
        match: { equals: "long-hours" },
        prices: [
          { prices: { input_mtok: { base: 2, tiers: [{ start: 300, price: 3 }] }, output_mtok: 5 } },
          { constraint: { start_time: "01:00:00Z", end_time: "04:00:00Z", type: "time_of_date" }, prices: { input_mtok: { base: 1, tiers: [{ start: 200, price: 4 }] }, output_mtok: { base: 6, tiers: [{ start: 200, price: 7 }] } } },
          { constraint: { start_time: "05:00:00Z", end_time: "06:00:00Z", type: "time_of_date" }, prices: { input_mtok: 2.5, output_mtok: 1 } }
        ]
      }
  ] },
  { id: "deepseek", models: [] }, { id: "x-ai", models: [] }, { id: "cohere", models: [] }, { id: "perplexity", models: [] },
  { id: "moonshotai", models: [] }, { id: "minimax", models: [] }, { id: "zai", models: [] }, { id: "zhipuai", models: [] },
  { id: "voyageai", models: [] },
  { id: "groq", models: [{ id: "both", match: { equals: "both" }, prices: { input_mtok: 5 } }] },
  { id: "together", models: [] }, { id: "fireworks", models: [] },
  { id: "azure", models: [{ id: "gpt", match: { equals: "gpt-0314" }, prices: { input_mtok: 31 } }] },
  {
    id: "aws",
    models: [
      { id: "regional.claude-3", match: { or: [{ contains: "claude-3-haiku" }, { starts_with: "claude-3-haiku" }, { contains: "us.anthropic.claude-3" }] }, prices: { input_mtok: 3.3 } }
    ]
  },
  { id: "openrouter", models: [{ id: "both", match: { or: [{ equals: "both" }, { equals: "openai/gpt" }] }, prices: { input_mtok: 4 } }] },
  { id: "left-out", models: [{ id: "other", match: { equals: "other" }, prices: { input_mtok: 4 } }] }
], J = {
  tokens: { per: 1e6 }
};
