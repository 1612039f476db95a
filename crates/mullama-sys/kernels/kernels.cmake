# Adds our kernels to the engine's CPU modules, without changes to its sources:
#
#   cmake -S llama.cpp -DCMAKE_PROJECT_ggml_INCLUDE=<this file> -DMULLAMA_CPU_MODULES="ggml-cpu-haswell;..." ...
#   cmake --build ... --target mullama-cpu-modules
#
# CMake includes this file right after project("ggml"). The call at its end is deferred to the end of that folder, when
# the engine's targets exist.
#
# If MULLAMA_ENGINE_BUILD names the folder of a build of the same sources with the same options, its object files are
# linked instead of compiled again, except for the one file that a definition changes. Modules named in
# MULLAMA_COMPILED_ANEW are compiled completely, with the header MULLAMA_AMX_HEADER included first.
# MULLAMA_KERNELS_OPTIONS are compiler options for our source only, MULLAMA_LINK_OPTIONS are link options for the
# modules; the tests use them to build other vector layers, and for sanitizers.
cmake_minimum_required(VERSION 3.19)

set(MULLAMA_KERNELS_FOLDER "${CMAKE_CURRENT_LIST_DIR}")

set(MULLAMA_WITH_DEFINITION "ggml-cpu/ggml-cpu.cpp")

# The sources of a target, replaced by the object files of the engine's build where possible.
function(mullama_compiled_sources target result)
    get_target_property(sources ${target} SOURCES)
    set(kept "")
    foreach (source IN LISTS sources)
        set(object "${MULLAMA_ENGINE_BUILD}/ggml/src/CMakeFiles/${target}.dir/${source}${CMAKE_CXX_OUTPUT_EXTENSION}")
        if (NOT target IN_LIST MULLAMA_COMPILED_ANEW AND NOT source STREQUAL MULLAMA_WITH_DEFINITION AND EXISTS "${object}")
            set(source "${object}")
        endif()
        list(APPEND kept "${source}")
    endforeach()
    set(${result} "${kept}" PARENT_SCOPE)
endfunction()

function(mullama_add_kernels)
    mullama_compiled_sources(ggml-base sources)
    set_target_properties(ggml-base PROPERTIES SOURCES "${sources}" LINKER_LANGUAGE CXX)
    add_custom_target(mullama-cpu-modules)
    foreach (module IN LISTS MULLAMA_CPU_MODULES)
        add_dependencies(mullama-cpu-modules ${module})
        mullama_compiled_sources(${module} sources)
        set_target_properties(${module} PROPERTIES SOURCES "${sources};${MULLAMA_KERNELS_FOLDER}/module.cpp")
        if (module IN_LIST MULLAMA_COMPILED_ANEW)
            target_compile_options(${module} PRIVATE "$<$<COMPILE_LANGUAGE:CXX>:SHELL:-include \"${MULLAMA_AMX_HEADER}\">")
        endif()
        target_link_options(${module} PRIVATE ${MULLAMA_LINK_OPTIONS})
    endforeach()
    set_source_files_properties("${MULLAMA_KERNELS_FOLDER}/module.cpp" DIRECTORY src
        PROPERTIES COMPILE_OPTIONS "${MULLAMA_KERNELS_OPTIONS}")
    # With this definition, ggml-cpu.cpp uses KleidiAI's buffer type, which is ours: see module.cpp.
    set_source_files_properties("${CMAKE_CURRENT_SOURCE_DIR}/src/${MULLAMA_WITH_DEFINITION}" DIRECTORY src
        PROPERTIES COMPILE_DEFINITIONS GGML_USE_CPU_KLEIDIAI)
endfunction()

cmake_language(DEFER CALL mullama_add_kernels)
