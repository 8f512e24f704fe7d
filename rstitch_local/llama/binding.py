"""What this package needs of llama-cpp-python, checked when it is imported."""

from __future__ import annotations

from types import ModuleType

from rstitch_local.errors import EngineError

OLDEST_BINDING = "0.3.25"
"""The oldest llama-cpp-python that the tests pass with; also in pyproject.toml."""

REQUIRED = (
    "GGML_TYPE_F16", "GGML_TYPE_Q4_0", "GGML_TYPE_Q8_0", "llama_backend_init", "llama_batch",
    "llama_context_default_params", "llama_context_p", "llama_decode", "LLAMA_FLASH_ATTN_TYPE_AUTO", "llama_free",
    "llama_get_embeddings", "llama_get_logits", "llama_get_memory", "llama_init_from_model", "llama_log_callback",
    "llama_log_set", "llama_memory_clear", "llama_memory_seq_cp", "llama_memory_seq_pos_max",
    "llama_memory_seq_pos_min", "llama_memory_seq_rm", "llama_model_chat_template", "llama_model_default_params",
    "llama_model_desc", "llama_model_free", "llama_model_get_vocab", "llama_model_is_hybrid",
    "llama_model_is_recurrent", "llama_model_load_from_file", "llama_model_meta_val_str", "llama_model_n_ctx_train",
    "llama_model_n_embd", "llama_model_n_layer", "llama_model_n_swa", "llama_model_p", "llama_model_params",
    "llama_model_size", "llama_n_batch", "llama_print_system_info", "llama_progress_callback", "llama_set_embeddings",
    "llama_supports_gpu_offload", "llama_supports_mmap", "llama_token", "LLAMA_TOKEN_ATTR_BYTE",
    "LLAMA_TOKEN_ATTR_CONTROL", "LLAMA_TOKEN_ATTR_LSTRIP", "LLAMA_TOKEN_ATTR_NORMAL", "LLAMA_TOKEN_ATTR_RSTRIP",
    "LLAMA_TOKEN_ATTR_UNKNOWN", "LLAMA_TOKEN_ATTR_UNUSED", "LLAMA_TOKEN_ATTR_USER_DEFINED", "llama_token_to_piece",
    "llama_tokenize", "llama_vocab_bos", "llama_vocab_eos", "llama_vocab_eot", "llama_vocab_get_add_bos",
    "llama_vocab_get_attr", "llama_vocab_get_text", "llama_vocab_is_eog", "llama_vocab_n_tokens", "llama_vocab_type",
    "LLAMA_VOCAB_TYPE_BPE",
)  # fmt: skip
"""The names of llama-cpp-python that this package uses; a test compares them with the code."""


def require_complete(binding: ModuleType) -> None:
    """Check that the installed llama-cpp-python declares every name that this package uses.

    Raises:
        EngineError: names are missing, because the version is too old or has dropped them.
    """
    missing = [name for name in REQUIRED if not hasattr(binding, name)]
    if missing:
        version = getattr(binding, "__version__", "of an unknown version")
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise EngineError(
            "Unsupported llama-cpp-python",
            f"llama-cpp-python {version} lacks {', '.join(missing[:3])}{more}.",
            f"Install version {OLDEST_BINDING} or later: `pip install --upgrade llama-cpp-python`.",
        )
