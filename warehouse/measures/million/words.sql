-- Wordings of questions in five languages, ten attributes and four ways of asking; `{}` stands for the name of a place.
CREATE OR REPLACE TEMP TABLE wording AS
WITH attributes (attribute, en, es, ru, ar, zh) AS (
    VALUES
        ('capital', 'capital', 'capital', 'столица', 'عاصمة', '首都'),
        ('currency', 'currency', 'moneda', 'валюта', 'عملة', '货币'),
        ('river', 'longest river', 'río principal', 'главная река', 'نهر', '河流'),
        ('mountain', 'highest mountain', 'montaña más alta', 'высшая гора', 'جبل', '山峰'),
        ('founder', 'founder', 'fundador', 'основатель', 'مؤسس', '创始人'),
        ('year', 'year of foundation', 'año de fundación', 'год основания', 'سنة', '年份'),
        ('architect', 'architect', 'arquitecto', 'архитектор', 'مهندس', '建筑师'),
        ('population', 'population', 'población', 'население', 'سكان', '人口'),
        ('area', 'area', 'superficie', 'площадь', 'مساحة', '面积'),
        ('patron', 'patron saint', 'santo patrón', 'святой покровитель', 'شفيع', '守护神')
),
ways (language, way, pattern) AS (
    VALUES
        ('en', 0, 'What is the [] of {}?'),
        ('en', 1, 'Tell me which [] belongs to {}.'),
        ('en', 2, 'For {}, name its []'),
        ('en', 3, 'Could anyone looking at this photograph say the [] that {} has today?'),
        ('es', 0, '¿Cuál es [] de {}?'),
        ('es', 1, 'Dime qué [] pertenece a {}.'),
        ('es', 2, 'Nombra para {} su []'),
        ('es', 3, 'Según esta fotografía, ¿qué [] tiene hoy la ciudad llamada {}?'),
        ('ru', 0, 'Какая [] у {}?'),
        ('ru', 1, 'Скажи, что за [] относится к {}.'),
        ('ru', 2, 'Назови для {} его []'),
        ('ru', 3, 'Кто может по этой фотографии сказать, какая [] сегодня есть у {}?'),
        ('ar', 0, 'ما هي [] في {}؟'),
        ('ar', 1, 'أخبرني أي [] تنتمي إلى {}.'),
        ('ar', 2, 'سم لمدينة {} ما لها من []'),
        ('ar', 3, 'من يستطيع أن يقول من هذه الصورة أي [] توجد اليوم في {}؟'),
        ('zh', 0, '{}的[]是什么？'),
        ('zh', 1, '请告诉我哪个[]属于{}。'),
        ('zh', 2, '说出{}它自己的[]'),
        ('zh', 3, '看了这张照片的人能不能说出今天{}有怎样的[]呢？')
)
SELECT
    row_number() OVER (ORDER BY way, attribute, language) - 1 AS wording,
    attribute,
    language,
    replace(
        pattern, '[]', CASE language WHEN 'en' THEN en WHEN 'es' THEN es WHEN 'ru' THEN ru WHEN 'ar' THEN ar ELSE zh END
    ) AS pattern
FROM attributes
CROSS JOIN ways;

CREATE OR REPLACE TEMP MACRO syllable(language, place) AS (
    CASE language
        WHEN 'ru' THEN ['ка', 'ло', 'ми', 'ну', 'ре', 'са', 'то', 'ви', 'гу', 'де', 'жо', 'зы', 'пи', 'фа', 'хе', 'цо', 'чу', 'ша', 'ба', 'ян']
        WHEN 'ar' THEN ['كا', 'لو', 'مي', 'نو', 'ري', 'سا', 'تو', 'في', 'جو', 'دي', 'زو', 'شا', 'با', 'حا', 'خو', 'صا', 'طي', 'عو', 'غا', 'قو']
        WHEN 'zh' THEN ['卡', '洛', '米', '努', '雷', '萨', '托', '维', '古', '德', '佐', '沙', '巴', '哈', '霍', '塔', '齐', '乌', '加', '科']
        ELSE ['ka', 'lo', 'mi', 'nu', 're', 'sa', 'to', 'vi', 'gu', 'de', 'zho', 'zy', 'pi', 'fa', 'he', 'tso', 'chu', 'sha', 'ba', 'yan']
    END
)[1 + place::BIGINT % 20];
-- A name of four syllables, different for each number below 160,000.
CREATE OR REPLACE TEMP MACRO named(language, number) AS
    syllable(language, number) || syllable(language, number // 20) || syllable(language, number // 400 + number)
    || syllable(language, number // 8000);
-- A number in [0, 1) that looks random and is the same in every run.
CREATE OR REPLACE TEMP MACRO chance(number, what) AS
    (md5_number_lower(what || number::VARCHAR) % 1000003)::DOUBLE / 1000003;
CREATE OR REPLACE TEMP MACRO identifier(kind, number) AS substring(md5(kind || number::VARCHAR), 1, 16);
-- 64 bits; one of every twenty pictures is a copy of another one with two bits changed.
CREATE OR REPLACE TEMP MACRO picture_bits(number, what) AS xor(
    (md5_number_lower(what || (if(number % 20 = 1, number - 1, number))::VARCHAR) // 2)::BIGINT,
    if(number % 20 = 1 AND what = 'hash', 3, 0)::BIGINT
);
