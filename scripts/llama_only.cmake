# Included by llama.cpp's CMake project: leaves out the helper library, tools and server, which the Python binding
# builds but never loads.
set(LLAMA_BUILD_COMMON OFF)
