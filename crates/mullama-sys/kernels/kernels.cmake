# Puts our kernels into the engine's CPU modules, without a change to its sources:
#
#   cmake -S llama.cpp -DCMAKE_PROJECT_ggml_INCLUDE=<this file> -DMULLAMA_CPU_MODULES="ggml-cpu-haswell;..." ...
#   cmake --build ... --target mullama-cpu-modules
#
# CMake includes this file right after project("ggml"). The call at its end is put off to the end of that folder, when the
# engine's targets exist.
#
# With MULLAMA_ENGINE_BUILD, the folder of a build of the same sources with the same options, what that compiled is linked
# and not compiled again, but for the one file that a definition changes. A module named in MULLAMA_COMPILED_ANEW is
# compiled as a whole, with the header MULLAMA_AMX_HEADER before everything else. MULLAMA_KERNELS_OPTIONS are options for
# our source alone, and MULLAMA_LINK_OPTIONS for the modules: the tests build other vector layers so, and sanitizers.
cmake_minimum_required(VERSION 3.19)

set(MULLAMA_KERNELS_FOLDER "${CMAKE_CURRENT_LIST_DIR}")

set(MULLAMA_WITH_DEFINITION "ggml-cpu/ggml-cpu.cpp")

# Sources of a target, with what the engine's build compiled in their place.
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
    # ggml-cpu.cpp asks for KleidiAI's buffer type, which is ours, where this is defined: see module.cpp.
    set_source_files_properties("${CMAKE_CURRENT_SOURCE_DIR}/src/${MULLAMA_WITH_DEFINITION}" DIRECTORY src
        PROPERTIES COMPILE_DEFINITIONS GGML_USE_CPU_KLEIDIAI)
endfunction()

cmake_language(DEFER CALL mullama_add_kernels)
