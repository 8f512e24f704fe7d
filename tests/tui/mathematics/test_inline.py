"""Formulas on one line."""

from __future__ import annotations

import pytest

from rstitch_tui.mathematics.formula import formula


def line(source: str) -> str | None:
    shown = formula(source)
    assert shown is not None, source
    return shown.line


@pytest.mark.parametrize(
    ("source", "text"),
    [
        # Answers of MATH and OlympiadBench.
        (r"\left( 3, \frac{\pi}{2} \right)", "(3, π/2)"),
        (r"\frac{14}{3}", "14/3"),
        (r"\text{Evelyn}", "Evelyn"),
        (r"90^\circ", "90°"),
        ("52_8", "52₈"),
        (r"11\sqrt2", "11√2"),
        ("x^5 - x^4 + x - 1", "x⁵ − x⁴ + x − 1"),
        (r"-\frac{\pi}{6}", "−π/6"),
        (r"\frac{3\sqrt{3}}{4}", "3√3/4"),
        (r"\cot x", "cot x"),
        (r"1 \pm \sqrt{19}", "1 ± √19"),
        (r"\frac43", "4/3"),
        ("4210_{5}", "4210₅"),
        (r"\frac{270}7\text{ degrees}", "270/7 degrees"),
        (r"(2,\infty)", "(2, ∞)"),
        (r"11,\! 111,\! 100", "11,111,100"),
        (r"\$32,\!348", "$32,348"),
        (r"\text{(C)}", "(C)"),
        (r"\frac{1}{2 n+2}", "1/(2n + 2)"),
        (r"\binom{2n}{n}", "(2n choose n)"),
        (r"m n-\lfloor m / 2\rfloor", "mn − ⌊m/2⌋"),
        ("M=2^{N-2}+1", "M = 2ᴺ⁻² + 1"),
        (r"\left\lfloor\log _{2} n\right\rfloor+1", "⌊log₂ n⌋ + 1"),
        (r"m_{\max }=n^{2}-n-1", "mₘₐₓ = n² − n − 1"),
        (r"\frac{100!}{2^{50}}", "100!/2⁵⁰"),
        (r"\frac{n(n+1)(2 n+1)}{6}", "n(n + 1)(2n + 1)/6"),
        (r"\frac{8}{\sqrt[3]{7}}", "8/∛7"),
        (r"(-\infty, 0) \cup\{1\}", "(−∞, 0) ∪ {1}"),
        (r"8 \%", "8%"),
        (r"18.8^{\circ}", "18.8°"),
        (r"\frac{\log 2}{\log 2-\log 3}", "(log 2)/(log 2 − log 3)"),
        # Fractions.
        (r"\frac{\sqrt{3}}{2}", "√3/2"),
        (r"x=\frac{-b\pm\sqrt{b^2-4ac}}{2a}", "x = (−b ± √(b² − 4ac))/(2a)"),
        (r"\frac12x", "(1/2)x"),
        (r"2\frac{1}{2}", "2 1/2"),
        (r"2\frac{x}{y}", "2(x/y)"),
        (r"3+\frac{-1}{2}", "3 + (−1/2)"),
        (r"\frac{\frac{1}{2}}{3}", "(1/2)/3"),
        (r"\frac{1}{f(x)}", "1/f(x)"),
        (r"\frac{(a+b)}{(c+d)}", "(a + b)/(c + d)"),
        (r"\frac{(a+b)c}{d}", "(a + b)c/d"),
        (r"\frac{d}{dx} f", "(d/dx)f"),
        (r"\left(\frac{1}{2}\right)^2", "(1/2)²"),
        (r"\frac{1}{2}^2", "(1/2)²"),
        (r"\sin\frac{x}{2}", "sin (x/2)"),
        (r"a/\frac{b}{c}", "a/(b/c)"),
        (r"n \choose k", "(n choose k)"),
        # Scripts.
        ("x_1^2", "x₁²"),
        ("x^{a+b}", "xᵃ⁺ᵇ"),
        ("x^{n!}", "x^(n!)"),
        (r"x^{\frac{1}{2}}", "x^(1/2)"),
        ("x_b y", "x_b y"),
        ("x_b^2", "x_(b)²"),
        ("x_{ab}", "x_(ab)"),
        ("2^{2^n}", "2^(2ⁿ)"),
        ("x^12", "x¹2"),
        ("{AB}^2", "(AB)²"),
        ("(a+b)^2", "(a + b)²"),
        (r"\sqrt{2}^2", "(√2)²"),
        ("f'(x), f''_1", "f′(x), f₁″"),
        ("x^*", "x^*"),
        (r"\mathrm{cm}^2, \mathrm{~cm}^2", "cm², cm²"),
        (r"\sum_{k=1}^\infty a_k", "∑ₖ₌₁^∞ aₖ"),
        (r"\lim_{x\to0} f(x)", "lim_(x→0) f(x)"),
        (r"\int_0^1 x^2\,dx", "∫₀¹ x² dx"),
        # Roots, accents, boxes.
        (r"\sqrt[3]{x+1}, \sqrt[n]{x}", "∛(x + 1), ⁿ√x"),
        (r"\sqrt{x^2}", "√(x²)"),
        (r"2\sqrt{3}i", "2√3 i"),
        (r"\overline{AB}, \hat{x}, \vec{v}_1", "A\u0305B\u0305, x\u0302, v\u20d7₁"),
        (r"\bar{x}, \bar{AB}", "x\u0304, A\u0305B\u0305"),
        (r"\boxed{606}", "▐606▌"),
        # Spaces.
        ("a-b, -c, x=-1, (-2)", "a − b, −c, x = −1, (−2)"),
        ("f(1,2), 10,000, 10{,}000, 3.5", "f(1, 2), 10,000, 10,000, 3.5"),
        (r"\sin^2 x + \cos\theta, \sin(x)", "sin² x + cos θ, sin(x)"),
        (r"\{x \mid |x|>0\}", "{x | |x| > 0}"),
        (r"a \equiv b \pmod{7}, a \bmod 7, (\bmod 4)", "a ≡ b (mod 7), a mod 7, (mod 4)"),
        (r"x = 5 \quad\text{or}\quad x\leq 6", "x = 5  or  x ≤ 6"),
        (r"\text{if } x, a\text{ and }b", "if x, a and b"),
        (r"a \not= b \not\in C", "a ≠ b ∉ C"),
        ("(a/b)^n = c", "(a/b)ⁿ = c"),
        (r"\left(\frac ab\right)^n=c", "(a/b)ⁿ = c"),
        (r"f: A \to B", "f : A → B"),
        (r"\operatorname{lcm}(a,b) \mathbb{R}^n \mathcal{S}", "lcm(a, b)ℝⁿ𝒮"),
        ("x \\tag{1}", "x    (1)"),
        (r"1 \underline{\hphantom{10}}", "1 \u0332 \u0332"),
        (r"\text{$x_1$ is \$5, 50\%}", "x₁ is $5, 50%"),
        (r"\begin{aligned}x&=2\end{aligned}", "x = 2"),
        ("π ≤ 2·3", "π ≤ 2 · 3"),
        ("数学 + x", "数学 + x"),
    ],
)  # fmt: skip
def test_one_line(source: str, text: str) -> None:
    assert line(source) == text


@pytest.mark.parametrize(
    "source",
    [r"\begin{pmatrix}1\\2\end{pmatrix}", r"\overrightarrow{AB}", r"a \overset{?}{=} b", r"\underbrace{ab}_n", r"a\\b"],
)
def test_needs_several_lines(source: str) -> None:
    assert line(source) is None


@pytest.mark.parametrize(
    "source",
    [
        r"\unknown{x}", "x^y^z", "a%b", "{x", "x}", r"\frac{1}", r"\left(x", r"x\right)", r"\begin{foo}x\end{foo}",
        r"\begin{array}{cp}x\end{array}", r"\begin{aligned}x\end{array}", r"\begin{matrix}\end{matrix}",
        r"\sqrt[a/b]{x}", r"\text{\foo}", "$x$", "#", "a&b" + "&" * 5000, "x" * 1_000_000,
        "{" * 10_000 + "x" + "}" * 10_000, "", " ",
        r"\frac{" * 5000, r"\text{$" * 1200, r"\left(" * 900, "x^{" * 900 + "}" * 900, r"\sqrt" * 700 + "x", "\\",
        r"\not\alpha", r"\cancel{x}", r"\char65",
    ],
)  # fmt: skip
def test_source_that_cannot_be_shown(source: str) -> None:
    assert formula(source) is None
